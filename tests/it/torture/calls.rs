//! A task that makes random calls on few keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use session_postgres::{AsyncStore, Error, Period, postgres::error::SqlState};

use super::{
    outcome::{Outcome, Tally, outcome},
    round::{FAMILIES, Round},
    short_lived::LIFE,
    verbs::{Returned, Timing, call, call_many, clear_owned, generate, list},
};
use crate::{
    concurrent::{
        checker::{Answer, Event, Verb},
        owners::{CallForOwner, Effect},
    },
    support::random::Random,
};

/// A task of a round.
pub(super) struct Task<S> {
    pub(super) store: S,
    pub(super) round: Arc<Round>,
    pub(super) tally: Arc<Tally>,
    pub(super) thread: usize,
    pub(super) random: Random,
    /// Whether some calls are dropped before they end. This needs a runtime.
    pub(super) drops: bool,
}

impl<S: AsyncStore + Clone> Task<S> {
    pub(super) async fn live(mut self, calls: usize) {
        for _ in 0..calls {
            match self.random.below(20) {
                0..4 => self.call_short_lived().await,
                4 => self.generate().await,
                5 => self.call_for_owner().await,
                _ => self.call().await,
            }
        }
    }

    /// Calls any verb for known keys.
    async fn call(&mut self) {
        let round = self.round.clone();
        let keys = round.keys();
        let kind = self.random.below(19);
        let ends = self.random.one_in(8);
        let is_owned = !self.random.one_in(3);
        let is_many = kind < 12 && self.random.one_in(3);
        let count = if is_many { 1 + self.random.below(3) } else { 1 };
        let verb = || {
            let value = round.new_value();
            match kind {
                0..3 => Verb::Get,
                3 => Verb::Clear,
                4..7 => Verb::Set { value, ends },
                7..10 => {
                    let value = (value % 4 != 0).then_some(value);
                    Verb::Insert { value, ends }
                }
                10 => Verb::Touch { ends },
                11 => Verb::Renew,
                12 => Verb::Rotate,
                13 => Verb::Login { value, ends },
                14 => Verb::UpdateToNone,
                15 | 16 => Verb::SetOwner { is_owned },
                _ => Verb::Update { value, ends },
            }
        };
        let verbs: Vec<_> = (0..count)
            .map(|_| (self.random.below(keys), verb()))
            .collect();
        let names: Vec<_> = verbs.iter().map(|(key, _)| round.key(*key)).collect();

        let timing = self.timing(Period::HOUR);
        let store = self.store.clone();
        let began = round.now();
        let results = match is_many {
            true => self.timed(call_many(&store, &verbs, &names)).await,
            false => {
                let (key, verb) = verbs[0];
                let owner = round.owner_of(key);
                let call = call(&store, verb, &names[0], &owner, timing);
                self.timed(call).await
            }
        };
        let ended = round.now();
        let is_read = matches!(verbs[0].1, Verb::Get);
        let outcomes = self.outcomes(results, count, is_read);
        for ((key, verb), outcome) in verbs.into_iter().zip(outcomes) {
            let answer = match outcome {
                Outcome::Known(Returned::Answer(answer)) => answer,
                Outcome::Known(Returned::NewKey(new)) => {
                    Answer::Moved(round.add_key(new, key, began))
                }
                Outcome::NoEffect => Answer::NoEffect,
                Outcome::Unknown => Answer::Unknown,
            };
            self.record((key, verb, answer), began, ended);
        }
    }

    /// Creates sessions with new keys. If the outcome is unknown, no caller knows the key.
    async fn generate(&mut self) {
        let (round, store) = (self.round.clone(), self.store.clone());
        let family = self.random.below(FAMILIES);
        let is_many = self.random.one_in(2);
        let count = if is_many { 2 } else { 1 };
        let owner = round.owner_of(family);
        let sessions: Vec<_> = (0..count)
            .map(|_| {
                let owner = self.random.one_in(2).then_some(owner.as_str());
                (round.new_value(), owner)
            })
            .collect();
        let began = round.now();
        let results = self.timed(generate(&store, &sessions, is_many)).await;
        let ended = round.now();
        let outcomes = self.outcomes(results, count, false);
        for ((value, owner), outcome) in sessions.into_iter().zip(outcomes) {
            if let Outcome::Known(Returned::NewKey(new)) = outcome {
                let key = round.add_key(new, family, began);
                let is_owned = owner.is_some();
                let verb = Verb::Generate { value, is_owned };
                self.record((key, verb, Answer::Done), began, ended);
            }
        }
    }

    /// Lists or clears the sessions of an owner.
    async fn call_for_owner(&mut self) {
        let (round, store) = (self.round.clone(), self.store.clone());
        let family = self.random.below(FAMILIES);
        let owner = round.owner_of(family);
        let began = round.now();
        let effect = match self.random.one_in(2) {
            true => {
                let cleared = self.timed(clear_owned(&store, &owner)).await;
                let done = |()| Returned::Answer(Answer::Done);
                let results = cleared.map(|result| vec![result.map(done)]);
                match self.outcomes(results, 1, false).remove(0) {
                    Outcome::Known(_) => Some(Effect::Cleared(Answer::Done)),
                    Outcome::NoEffect => None,
                    Outcome::Unknown => Some(Effect::Cleared(Answer::Unknown)),
                }
            }
            false => {
                let listed = self.timed(list(&store, &owner)).await;
                let mut entries = None;
                let results = listed.map(|result| {
                    let result = result.map(|listed| {
                        entries = Some(Effect::Listed(listed));
                        Returned::Answer(Answer::Done)
                    });
                    vec![result]
                });
                self.outcomes(results, 1, true);
                entries
            }
        };
        let ended = round.now();
        if let Some(effect) = effect {
            round.record_for_owner(CallForOwner {
                thread: self.thread,
                family,
                effect,
                began,
                ended,
            });
        }
    }

    /// Calls a verb for a short-lived session.
    async fn call_short_lived(&mut self) {
        let (round, store) = (self.round.clone(), self.store.clone());
        let short_lived = round.short_lived();
        let value = round.new_value();
        let verb = match self.random.below(7) {
            0 => Verb::Touch { ends: false },
            6 => Verb::Renew,
            1 => Verb::Update { value, ends: false },
            2 | 3 => Verb::Set { value, ends: false },
            _ => Verb::Get,
        };
        let is_read = matches!(verb, Verb::Get);
        let timing = self.timing(LIFE);
        let observation = short_lived.begin();
        let results = self
            .timed(call(&store, verb, &short_lived.key, "", timing))
            .await;
        for outcome in self.outcomes(results, 1, is_read) {
            match outcome {
                Outcome::Known(Returned::Answer(Answer::NotFound)) => return observation.absent(),
                // A renewal need not write.
                Outcome::Known(_) if is_read || matches!(verb, Verb::Renew) => {
                    return observation.present();
                }
                Outcome::Known(_) => return observation.written(),
                Outcome::NoEffect | Outcome::Unknown => {}
            }
        }
    }

    /// This period, and an edit that is slow in some calls.
    fn timing(&mut self, life: Period) -> Timing {
        let longest = [1, 1, 40, 400][self.random.below(4)];
        let edit = Duration::from_millis(self.random.below(longest) as u64);
        Timing { life, edit }
    }

    /// Returns the result of a call, or `None` if it was dropped.
    async fn timed<T>(&mut self, call: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let done = match self.drops && self.random.one_in(12) {
            true => {
                let patience = Duration::from_millis(self.random.below(60) as u64);
                tokio::time::timeout(patience, call).await.ok()
            }
            false => Some(call.await),
        };
        self.tally.took(begun.elapsed());
        done
    }

    /// The outcome of each call.
    fn outcomes(
        &self,
        results: Option<Vec<Result<Returned, Error>>>,
        calls: usize,
        is_read: bool,
    ) -> Vec<Outcome<Returned>> {
        let Some(results) = results else {
            self.tally.count_many("dropped", calls);
            return (0..calls).map(|_| Outcome::Unknown).collect();
        };
        assert_eq!(results.len(), calls);
        let outcome = |result: Result<Returned, Error>| match result {
            Ok(said) => {
                self.tally.count("Ok");
                Outcome::Known(said)
            }
            Err(error) => {
                self.tally.count_error(&error);
                if is_read && matches!(error, Error::Disconnected(_)) {
                    self.round
                        .add_violation(format!("a read returned {error:?}"));
                }
                // A call that exceeds its own time limit fails with another error.
                let is_cancelled = error.sqlstate() == Some(&SqlState::QUERY_CANCELED);
                if is_cancelled && matches!(error, Error::Database(_)) {
                    self.round
                        .add_violation(format!("cancelled before its deadline: {error:?}"));
                }
                outcome(&error).map(Returned::Answer)
            }
        };
        results.into_iter().map(outcome).collect()
    }

    fn record(&self, (key, verb, answer): (usize, Verb, Answer), began: u64, ended: u64) {
        self.round.record(Event {
            thread: self.thread,
            key,
            verb,
            answer,
            began,
            ended,
        });
    }
}
