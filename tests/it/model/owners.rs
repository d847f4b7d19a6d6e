//! The steps that concern all sessions of an owner.

use session_postgres::{Error, OwnedSession};

use super::{
    contract::{Held, State, is_about},
    run::Run,
    steps::{OWNERS, Text},
};

fn is_owned(state: &State, owner: &Text) -> bool {
    state
        .as_ref()
        .is_some_and(|held| held.owner.as_ref() == Some(owner))
}

/// Returns the result of a call with this owner, or `None` if it was refused as it must be.
fn unless_refused<T>(owner: &Text, result: Result<T, Error>) -> Result<Option<T>, String> {
    match (result, OWNERS.contains(&owner.0.as_str())) {
        (Ok(done), true) => Ok(Some(done)),
        (Err(Error::InvalidOwner(_)), false) => Ok(None),
        (Ok(_), false) => Err(format!("the owner {owner:?} was not refused")),
        (Err(other), _) => Err(format!("no call may fail like this: {other}")),
    }
}

impl Run<'_> {
    /// Lists the sessions of an owner. These must be exactly the known ones.
    pub(super) fn list(&mut self, owner: &Text) -> Result<(), String> {
        let Some(mut listed) = unless_refused(owner, self.store.owned(&owner.0))? else {
            return Ok(());
        };
        if !listed.is_sorted_by_key(|session| session.age) {
            return Err(format!("not the newest first: {listed:?}"));
        }
        for known in &mut self.known {
            let handle = known.key.handle();
            let found = listed.iter().position(|session| session.handle == handle);
            let found = found.map(|place| listed.remove(place));
            let before = known.possible.clone();
            known.possible.retain(|state| match (state, &found) {
                (Some(held), Some(session)) => is_owned(state, owner) && is_same(held, session),
                (_, Some(_)) => false,
                (_, None) => !is_owned(state, owner),
            });
            if known.possible.is_empty() {
                return Err(format!(
                    "the list of {owner:?} has {found:?} for one of {before:?}"
                ));
            }
        }
        match listed.is_empty() {
            true => Ok(()),
            false => Err(format!("the list of {owner:?} also has {listed:?}")),
        }
    }

    pub(super) fn clear_owned(
        &mut self,
        owner: &Text,
        except: Option<usize>,
    ) -> Result<(), String> {
        let key = except.map(|place| &self.known[place].key);
        let cleared = self.store.clear_owned(&owner.0, key);
        let Some(cleared) = unless_refused(owner, cleared)? else {
            return Ok(());
        };
        let (mut least, mut most) = (0, 0);
        for (place, known) in self.known.iter_mut().enumerate() {
            if Some(place) == except {
                continue;
            }
            let is_owned = |state: &State| is_owned(state, owner);
            least += u64::from(known.possible.iter().all(is_owned));
            most += u64::from(known.possible.iter().any(is_owned));
            for state in &mut known.possible {
                *state = state
                    .take()
                    .filter(|held| held.owner.as_ref() != Some(owner));
            }
        }
        match (least..=most).contains(&cleared) {
            true => Ok(()),
            false => Err(format!(
                "cleared {cleared} sessions of {owner:?}, not {least} to {most}"
            )),
        }
    }

    pub(super) fn clear_handle(&mut self, owner: &Text, place: usize) -> Result<(), String> {
        let known = &mut self.known[place];
        let cleared = self.store.clear_handle(&owner.0, &known.key.handle());
        let Some(is_cleared) = unless_refused(owner, cleared)? else {
            return Ok(());
        };
        let before = known.possible.clone();
        known
            .possible
            .retain(|state| is_owned(state, owner) == is_cleared);
        if known.possible.is_empty() {
            return Err(format!(
                "clear_handle of {owner:?} returned {is_cleared} for one of {before:?}"
            ));
        }
        if is_cleared {
            known.possible = vec![None];
        }
        Ok(())
    }
}

fn is_same(held: &Held, session: &OwnedSession) -> bool {
    let value = held.value.as_ref().map(|value| &value.0);
    session.value.as_ref() == value && is_about(session.period, held.left)
}
