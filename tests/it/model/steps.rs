//! The steps of a sequence, chosen at random.

use std::fmt;

use proptest::{collection::vec, prelude::*, sample::Index};
use session_postgres::{MAX_PERIOD, MIN_PERIOD, Period};

pub(super) type Expiry = Option<Period>;

/// A value. `Debug` shows only the first 100 bytes of a large one.
#[derive(Clone, PartialEq)]
pub(super) struct Text(pub(super) String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..100) {
            Some(start) if self.0.len() > 200 => {
                write!(f, "{start:?} and so on, {} bytes", self.0.len())
            }
            _ => self.0.fmt(f),
        }
    }
}

/// The closure of an update.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Keep,
    Replace(Text),
    Append(Text),
}

impl Edit {
    pub(super) fn of(&self, old: Option<&str>) -> Option<String> {
        match self {
            Edit::Keep => None,
            Edit::Replace(new) => Some(new.0.clone()),
            Edit::Append(more) => Some(old.unwrap_or("nothing").to_owned() + &more.0),
        }
    }
}

/// A call on one session.
#[derive(Clone, Debug)]
pub(super) enum Verb {
    Clear,
    Get,
    Set(Text, Expiry),
    Insert(Option<Text>, Expiry),
    Touch(Expiry),
    Rotate,
    Update(Edit, Expiry),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Generate(Option<Text>, Expiry),
    GenerateMany(Vec<(Option<Text>, Expiry)>),
    /// A call for one of the known keys.
    One(Index, Verb),
    /// A batch of one verb.
    Many(Vec<(Index, Verb)>),
    SetDefaultPeriod(Period),
    /// Moves the expiry of all sessions in the table back by so many hours.
    HoursPass(i32),
}

const SOON: Period = Period::minutes(90);

fn text() -> impl Strategy<Value = Text> {
    let odd = prop::sample::select(vec![
        "",
        " ",
        "lobster",
        "'; DROP TABLE session; --",
        "\"quoted\" \\N \\x00 \\ $1 {table}",
        "{NULL,\"a\\\"b\"}",
        "NULL",
        "żółw 漢字 🦞 e\u{301} \u{202e}",
        "lob\0ster",
        "\0",
    ]);
    prop_oneof![
        30 => odd.prop_map(str::to_owned),
        15 => vec(any::<char>(), 0..20).prop_map(String::from_iter),
        1 => Just("0123456789abcdef".repeat(1 << 16)),
    ]
    .prop_map(Text)
}

/// After any whole number of hours, no session with one of these periods is about to expire. The duration
/// of a sequence therefore does not matter.
fn period() -> impl Strategy<Value = Period> {
    prop_oneof![
        6 => Just(SOON),
        3 => Just(Period::DAY + SOON),
        1 => Just(MAX_PERIOD),
        1 => Just(Period::ZERO),
        1 => Just(Period::milliseconds(-1)),
        1 => Just(MIN_PERIOD),
        1 => Just(MAX_PERIOD + Period::NANOSECOND),
        1 => Just(MIN_PERIOD - Period::NANOSECOND),
        1 => prop::sample::select(vec![Period::MAX, Period::MIN]),
    ]
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop::option::of(period())
}

fn set() -> impl Strategy<Value = Verb> {
    (text(), expiry()).prop_map(|(value, expiry)| Verb::Set(value, expiry))
}

fn insert() -> impl Strategy<Value = Verb> {
    (prop::option::of(text()), expiry()).prop_map(|(value, expiry)| Verb::Insert(value, expiry))
}

fn touch() -> impl Strategy<Value = Verb> {
    expiry().prop_map(Verb::Touch)
}

fn update() -> impl Strategy<Value = Verb> {
    let edit = prop_oneof![
        Just(Edit::Keep),
        text().prop_map(Edit::Replace),
        text().prop_map(Edit::Append),
    ];
    (edit, expiry()).prop_map(|(edit, expiry)| Verb::Update(edit, expiry))
}

fn one(verb: impl Strategy<Value = Verb>) -> impl Strategy<Value = Step> {
    (any::<Index>(), verb).prop_map(|(index, verb)| Step::One(index, verb))
}

fn many(verb: impl Strategy<Value = Verb>) -> impl Strategy<Value = Step> {
    vec((any::<Index>(), verb), 0..7).prop_map(Step::Many)
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let new = || (prop::option::of(text()), expiry());
    prop_oneof![
        2 => new().prop_map(|(value, expiry)| Step::Generate(value, expiry)),
        1 => vec(new(), 0..4).prop_map(Step::GenerateMany),
        1 => one(Just(Verb::Clear)),
        3 => one(Just(Verb::Get)),
        3 => one(set()),
        4 => one(insert()),
        2 => one(touch()),
        2 => one(Just(Verb::Rotate)),
        3 => one(update()),
        1 => many(Just(Verb::Clear)),
        2 => many(Just(Verb::Get)),
        3 => many(set()),
        4 => many(insert()),
        2 => many(touch()),
        1 => period().prop_map(Step::SetDefaultPeriod),
        2 => (1..3).prop_map(Step::HoursPass),
    ]
}
