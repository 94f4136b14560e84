//! What a case is: a name, what it needs, and a function over a [`Context`].

use std::fmt;

use futures_util::future::BoxFuture;
use keyfob_core::{Capabilities, Error};

use crate::context::Context;

/// What a case says in the end.
pub type CaseResult<T = ()> = Result<T, Stop>;

/// One check of a sentence of the contract.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// The path of its function under [`cases`](crate::cases), for example `get::missing_is_not_found`.
    pub name: &'static str,
    /// The module it stands in: a verb, or a subject that concerns all verbs.
    pub verb: &'static str,
    /// Without one of these it is ignored.
    pub needs: &'static [Need],
    pub(crate) function: for<'a> fn(&'a Context) -> BoxFuture<'a, CaseResult>,
}

impl Case {
    /// A case; made by the table at the top of each module of [`cases`](crate::cases).
    pub(crate) const fn new(
        name: &'static str,
        verb: &'static str,
        needs: &'static [Need],
        function: for<'a> fn(&'a Context) -> BoxFuture<'a, CaseResult>,
    ) -> Self {
        Self {
            name,
            verb,
            needs,
            function,
        }
    }

    /// The first need that isn't met.
    pub(crate) fn unmet_need(&self, context: &Context) -> Option<Need> {
        self.needs.iter().copied().find(|need| !need.is_met(context))
    }
}

/// Why a case ended early.
#[derive(Debug, Clone)]
pub enum Stop {
    /// The store breaks the contract: how.
    Failed(String),
    /// The store can't be asked: what it lacks. For what shows only inside of a case; else see [`Case::needs`].
    Ignored(String),
}

/// An error of the store where the contract promises success.
impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("unexpected error: {error:?}"))
    }
}

/// What a store must be able to do for a case to make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// Writes.
    Put,
    /// Atomic creation.
    Create,
    /// Atomic replacement of a known version.
    Match,
    /// Metadata can change without a new value.
    PutMetadata,
    /// Any of description, tags and expiry.
    Metadata,
    /// A description.
    Description,
    /// Tags.
    Tags,
    /// An expiry.
    Expiry,
    /// Values that are not text.
    Binary,
    /// Empty values.
    EmptyValue,
    /// A limit on values that is small enough to be tried.
    ValueLimit,
    /// Deletes, in whichever way.
    Delete,
    /// Deletes for good.
    DeletePermanent,
    /// Deletes so that it can be restored.
    DeleteRecoverable,
    /// Lists names.
    List,
    /// Keeps versions.
    Versions,
    /// Secrets that the caller said are there: [`RunOptions::seed`](crate::RunOptions::seed).
    Seeds,
}

impl Need {
    /// The largest value that a case makes in order to find a limit, in bytes.
    pub const MAX_TRIED_VALUE: usize = 4 << 20;

    fn is_met(self, context: &Context) -> bool {
        let can = context.capabilities();
        match self {
            Self::Put => can.put,
            Self::Create => can.put && can.put_create,
            Self::Match => can.put && can.put_match,
            Self::PutMetadata => can.put && can.put_metadata,
            Self::Metadata => can.put && (can.description || has_tags(&can) || can.expiry),
            Self::Description => can.put && can.description,
            Self::Tags => can.put && has_tags(&can),
            Self::Expiry => can.put && can.expiry,
            Self::Binary => can.put && can.binary,
            Self::EmptyValue => can.put && can.empty_value,
            Self::ValueLimit => can.put && can.max_value_bytes < Self::MAX_TRIED_VALUE,
            Self::Delete => can.delete_permanent || can.delete_recoverable,
            Self::DeletePermanent => can.delete_permanent,
            Self::DeleteRecoverable => can.delete_recoverable,
            Self::List => can.list,
            Self::Versions => can.versions,
            Self::Seeds => !context.seeds().is_empty(),
        }
    }
}

/// The suite's cases use up to two tags.
fn has_tags(can: &Capabilities) -> bool {
    can.tags && can.max_tags >= 2
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "put",
            Self::Create => "put_create",
            Self::Match => "put_match",
            Self::PutMetadata => "put_metadata",
            Self::Metadata => "description, tags or expiry",
            Self::Description => "description",
            Self::Tags => "tags",
            Self::Expiry => "expiry",
            Self::Binary => "binary",
            Self::EmptyValue => "empty_value",
            Self::ValueLimit => "max_value_bytes below 4 MiB",
            Self::Delete => "delete",
            Self::DeletePermanent => "delete_permanent",
            Self::DeleteRecoverable => "delete_recoverable",
            Self::List => "list",
            Self::Versions => "versions",
            Self::Seeds => "seeded secrets",
        })
    }
}

/// The table of a module: `verb: function [Need, ...]`, in the order in which the cases run.
macro_rules! cases {
    ($verb:literal: $($function:ident [$($need:ident),*]),+ $(,)?) => {
        /// The cases of this module, in the order in which they run.
        pub const CASES: &[$crate::Case] = &[$(
            $crate::Case::new(
                concat!($verb, "::", stringify!($function)),
                $verb,
                &[$($crate::Need::$need),*],
                |context| Box::pin($function(context)),
            )
        ),+];
    };
}
pub(crate) use cases;
