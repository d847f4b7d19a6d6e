//! The steps of a sequence, chosen at random.

use std::fmt;

use proptest::{collection::vec, prelude::*, sample::Index};
use session_postgres::{MAX_PERIOD, MIN_PERIOD, Period, SessionFields};

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

/// The fields of a new session, or the changes of a rotation.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) value: Option<Text>,
    pub(super) expiry: Expiry,
    pub(super) owner: Option<Text>,
}

impl Fields {
    pub(super) fn borrow(&self) -> SessionFields<'_> {
        SessionFields {
            value: self.value.as_ref().map(|value| value.0.as_str()),
            expiry: self.expiry,
            owner: self.owner.as_ref().map(|owner| owner.0.as_str()),
        }
    }
}

/// A call on one session.
#[derive(Clone, Debug)]
pub(super) enum Verb {
    Clear,
    Get,
    Set(Text, Expiry),
    /// The fields of an insert have no owner.
    Insert(Fields),
    Touch(Expiry),
    Renew(Expiry),
    Rotate(Fields),
    SetOwner(Option<Text>),
    Update(Edit, Expiry),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Generate(Fields),
    GenerateMany(Vec<Fields>),
    /// A call for one of the known keys.
    One(Index, Verb),
    /// A batch of one verb.
    Many(Vec<(Index, Verb)>),
    /// Moves a session to another known key, which may have a session.
    RotateTo(Index, Index, Fields),
    Owned(Text),
    ClearOwned(Text, Option<Index>),
    ClearHandle(Text, Index),
    Prune(u64),
    SetDefaultPeriod(Period),
    /// Moves the expiry of all sessions in the table back by so many hours.
    HoursPass(i32),
}

/// The valid owners.
pub(super) const OWNERS: [&str; 3] = ["ann", "Ann", "'; DROP TABLE session; --"];

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

/// An owner, or `None` on a table without a column for it.
fn owner(has_owners: bool) -> BoxedStrategy<Option<Text>> {
    match has_owners {
        true => prop::option::of(any_owner()).boxed(),
        false => Just(None).boxed(),
    }
}

fn any_owner() -> impl Strategy<Value = Text> {
    let long = "a".repeat(256);
    prop_oneof![
        20 => prop::sample::select(OWNERS.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(vec![String::new(), "a\0nn".to_owned(), long]),
    ]
    .prop_map(Text)
}

fn fields(has_owners: bool) -> impl Strategy<Value = Fields> {
    let fields = (prop::option::of(text()), expiry(), owner(has_owners));
    fields.prop_map(|(value, expiry, owner)| Fields {
        value,
        expiry,
        owner,
    })
}

fn set() -> impl Strategy<Value = Verb> {
    (text(), expiry()).prop_map(|(value, expiry)| Verb::Set(value, expiry))
}

fn insert() -> impl Strategy<Value = Verb> {
    fields(false).prop_map(Verb::Insert)
}

fn renew() -> impl Strategy<Value = Verb> {
    expiry().prop_map(Verb::Renew)
}

fn rotate(has_owners: bool) -> impl Strategy<Value = Verb> {
    prop_oneof![Just(Fields::default()), fields(has_owners)].prop_map(Verb::Rotate)
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

/// A step. Without `has_owners`, it does not need the column of owners.
pub(super) fn step(has_owners: bool) -> BoxedStrategy<Step> {
    let any = any_step(has_owners);
    match has_owners {
        true => prop_oneof![4 => any, 1 => step_of_owners()].boxed(),
        false => any.boxed(),
    }
}

fn step_of_owners() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => one(owner(true).prop_map(Verb::SetOwner)),
        2 => any_owner().prop_map(Step::Owned),
        1 => (any_owner(), any::<Option<Index>>())
            .prop_map(|(owner, except)| Step::ClearOwned(owner, except)),
        1 => (any_owner(), any::<Index>())
            .prop_map(|(owner, index)| Step::ClearHandle(owner, index)),
    ]
}

fn any_step(has_owners: bool) -> impl Strategy<Value = Step> {
    let rotate_to = (any::<Index>(), any::<Index>(), fields(has_owners));
    prop_oneof![
        2 => fields(has_owners).prop_map(Step::Generate),
        1 => vec(fields(has_owners), 0..4).prop_map(Step::GenerateMany),
        1 => one(Just(Verb::Clear)),
        3 => one(Just(Verb::Get)),
        3 => one(set()),
        4 => one(insert()),
        2 => one(touch()),
        3 => one(renew()),
        3 => one(rotate(has_owners)),
        2 => rotate_to.prop_map(|(from, to, fields)| Step::RotateTo(from, to, fields)),
        3 => one(update()),
        1 => many(Just(Verb::Clear)),
        2 => many(Just(Verb::Get)),
        3 => many(set()),
        4 => many(insert()),
        2 => many(touch()),
        3 => many(renew()),
        1 => period().prop_map(Step::SetDefaultPeriod),
        2 => (1..3).prop_map(Step::HoursPass),
        1 => prop::sample::select(vec![0, 1, 3, u64::MAX]).prop_map(Step::Prune),
    ]
}
