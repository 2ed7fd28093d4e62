//! Mutations of a member's life and profile.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use domain::change::Kind;
use domain::error::Error;
use domain::id::MemberId;
use domain::member::{self, Step, Subjects, Taken, Texts, Update};

use super::{Member, SubscriptionType, reread, reread_many, subjects};
use crate::graphql::context::{ContextExt as _, mutate, parse_id};
use crate::graphql::invitation::ErrorPolicy;
use crate::graphql::payload::payloads;
use crate::graphql::scalar::{CountryCode, Date, PhoneNumber, TimeZone};
use crate::graphql::user_error::{UserError, split, user_errors};

payloads! {
    {
        /// The member as of now, if one was named by `memberId`.
        member: Option<Member>,
        /// Those with whom it was done, as of now, in the order asked for.
        members: Option<Vec<Member>>,
    }
    /// Members were shut out.
    MemberSuspendPayload;
    /// Members were let in again.
    MemberActivatePayload;
    /// Members were taken out.
    MemberDeactivatePayload;
    /// Members were taken back.
    MemberReactivatePayload;
}

/// Members were deleted.
#[derive(SimpleObject, Debug)]
pub struct MemberDeletePayload {
    /// Ids of those who were deleted, in the order asked for.
    deleted_ids: Option<Vec<ID>>,
    /// What was refused, and why; then nothing it concerns was changed.
    user_errors: Vec<UserError>,
}

/// The viewer left the account.
#[derive(SimpleObject, Debug)]
pub struct MemberLeavePayload {
    /// Id of the member who left: their session is over.
    member_id: Option<ID>,
    /// Why they have not left.
    user_errors: Vec<UserError>,
}

/// A profile was changed.
#[derive(SimpleObject, Debug)]
pub struct MemberUpdatePayload {
    /// The member as of now.
    member: Option<Member>,
    /// What looks wrong but was taken.
    warnings: Vec<MemberWarning>,
    /// What was refused, and why; then nothing was changed.
    user_errors: Vec<UserError>,
}

/// Something that looks wrong but was taken.
#[derive(SimpleObject, Clone, Debug)]
pub struct MemberWarning {
    /// What, for programs.
    code: MemberWarningCode,
    /// Path of the argument it concerns, from `input` on.
    field: Vec<String>,
    /// What, for people, in English.
    message: String,
}

/// Codes of what looks wrong but was taken.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberWarningCode {
    /// The country has no state or province of this name or code (ISO 3166-2).
    UnknownState,
}

macro_rules! inputs {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(InputObject, Debug)]
        pub struct $name {
            /// The member; give either this or `memberIds`.
            member_id: Option<ID>,
            /// The members, instead of one: at least one, and at most as many as configured (500 unless changed). A refusal of one of
            /// them names its place: `memberIds`, index.
            member_ids: Option<Vec<ID>>,
            /// What becomes of the good ones when others are refused.
            #[graphql(default)]
            error_policy: ErrorPolicy,
            $($(#[$field_doc])* $field: $type,)*
            /// Makes a repetition harmless.
            idempotency_key: Option<String>,
        }
    )*};
}

inputs! {
    /// Whom to suspend.
    MemberSuspendInput {}
    /// Whom to let in again.
    MemberActivateInput {}
    /// Whom to take out.
    MemberDeactivateInput {
        /// Who takes over what they are responsible for: an active member. Needed if there is anything.
        successor_id: Option<ID>,
        /// Whether they may lose licences of linked products with their seat.
        #[graphql(default)]
        release_linked: bool,
        /// Whether a paid seat for each of them is removed at the period's end. Needs `licenses.manage` as well.
        #[graphql(default)]
        remove_seat: bool,
    }
    /// Whom to take back.
    MemberReactivateInput {}
    /// Whom to delete.
    MemberDeleteInput {
        /// Who takes over what they are responsible for: an active member. Needed if there is anything.
        successor_id: Option<ID>,
        /// Whether they may lose licences of linked products with their seat.
        #[graphql(default)]
        release_linked: bool,
    }
}

/// How to leave.
#[derive(InputObject, Debug)]
pub struct MemberLeaveInput {
    /// Who takes over what you are responsible for: an active member. Needed if there is anything.
    successor_id: Option<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// What of a member to change; what is left out stays, null or an empty text clears a field.
#[derive(InputObject, Debug)]
pub struct MemberUpdateInput {
    /// Whose profile: your own, or with `members.update` somebody else's.
    member_id: ID,
    /// The `version` that the change was decided on. If the profile was changed since, nothing is changed now.
    expected_version: i32,
    /// First name: 1 to 100 characters. Cannot be cleared once they have joined.
    first_name: MaybeUndefined<String>,
    /// Last name: 1 to 100 characters. Cannot be cleared once they have joined.
    last_name: MaybeUndefined<String>,
    /// Initials: at most 8 characters, no periods and no spaces.
    initials: MaybeUndefined<String>,
    /// Time zone they work in.
    time_zone: MaybeUndefined<TimeZone>,
    /// Street address: at most 200 characters on one line.
    address: MaybeUndefined<String>,
    /// City: at most 100 characters.
    city: MaybeUndefined<String>,
    /// State or province: at most 100 characters. One that the country does not have is taken, with a warning.
    state: MaybeUndefined<String>,
    /// Postal code: at most 20 characters.
    zip: MaybeUndefined<String>,
    /// Country.
    country: MaybeUndefined<CountryCode>,
    /// Phone number with its country code.
    phone: MaybeUndefined<PhoneNumber>,
    /// Job title: at most 100 characters.
    job_title: MaybeUndefined<String>,
    /// Attorney or not.
    subscription_type: MaybeUndefined<SubscriptionType>,
    /// The first day on which they may sign in, in the account's time zone; somebody else's only. If it is ahead, their sessions end.
    valid_from: MaybeUndefined<Date>,
    /// The last day of their membership, in the account's time zone; somebody else's only. After it they are deactivated.
    valid_until: MaybeUndefined<Date>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

impl MemberUpdateInput {
    fn read(self) -> Update {
        let text = |value: MaybeUndefined<String>| match value {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(String::new()),
            MaybeUndefined::Value(text) => Some(text),
        };
        let date = |value: MaybeUndefined<Date>| value.as_opt_ref().map(|date| date.map(|date| date.0));
        Update {
            expected_version: self.expected_version,
            texts: Texts {
                first_name: text(self.first_name),
                last_name: text(self.last_name),
                initials: text(self.initials),
                time_zone: text(self.time_zone.map_value(|zone| zone.0)),
                address: text(self.address),
                city: text(self.city),
                state: text(self.state),
                zip: text(self.zip),
                country: text(self.country.map_value(|country| country.0)),
                phone: text(self.phone.map_value(|phone| phone.0)),
                job_title: text(self.job_title),
            },
            subscription_type: self.subscription_type.as_opt_ref().map(|given| given.map(|one| (*one).into())),
            valid_from: date(self.valid_from),
            valid_until: date(self.valid_until),
        }
    }
}

/// Whom a step is taken with, as asked for.
struct Asked {
    one: Option<ID>,
    many: Option<Vec<ID>>,
    policy: ErrorPolicy,
    successor: Option<ID>,
    release_linked: bool,
    remove_seats: bool,
    key: Option<String>,
}

impl Asked {
    fn subjects(&self, bulk: usize) -> Result<Subjects, Error> {
        let successor = self.successor.as_ref().map(parse_id::<MemberId>);
        let (members, listed) = subjects(self.one.as_ref(), self.many.as_deref(), bulk)?;
        Ok(Subjects {
            members,
            listed,
            policy: self.policy.into(),
            successor,
            release_linked: self.release_linked,
            remove_seats: self.remove_seats,
        })
    }
}

/// Takes a step; answers whether it was asked for one member, and what became of it.
async fn take(ctx: &Context<'_>, step: Step, asked: Asked) -> Result<(bool, Taken), Error> {
    let subjects = asked.subjects(ctx.state().config.limits.bulk)?;
    let listed = subjects.listed;
    let done = mutate(ctx, asked.key.as_deref(), Kind::Asked, move |change, actor| {
        let subjects = subjects.clone();
        Box::pin(async move { member::take(change, actor, step, &subjects).await })
    });
    Ok((listed, done.await?.outcome))
}

async fn answer<P>(ctx: &Context<'_>, outcome: Result<(bool, Taken), Error>) -> Result<P>
where
    P: From<(Option<Member>, Option<Vec<Member>>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok((listed, taken)) => {
            let members = reread_many(ctx, &taken.members, &["member", "members"]).await;
            let one = members.as_ref().filter(|_| !listed).and_then(|members| members.first().cloned());
            (one, members, user_errors(taken.refused))
        }
        Err(user_errors) => (None, None, user_errors),
    }))
}

macro_rules! asked {
    ($input:expr, $successor:expr) => {
        asked!($input, $successor, false, false)
    };
    ($input:expr, $successor:expr, $release_linked:expr, $remove_seats:expr) => {
        Asked {
            release_linked: $release_linked,
            remove_seats: $remove_seats,
            one: $input.member_id,
            many: $input.member_ids,
            policy: $input.error_policy,
            successor: $successor,
            key: $input.idempotency_key,
        }
    };
}

/// Mutations of members' lives.
#[derive(Debug, Default)]
pub struct MemberLifeMutation;

#[Object]
impl MemberLifeMutation {
    /// Changes a profile. Everybody changes their own; somebody else's needs `members.update` and every permission that the member holds,
    /// and the owner's only the owner changes.
    async fn member_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: MemberUpdateInput,
    ) -> Option<Result<MemberUpdatePayload>> {
        let outcome = async {
            let (id, key) = (parse_id::<MemberId>(&input.member_id), input.idempotency_key.clone());
            let update = input.read();
            let done = mutate(ctx, key.as_deref(), Kind::Asked, move |change, actor| {
                let update = update.clone();
                Box::pin(async move { member::update(change, actor, id, &update).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = match split(outcome.await) {
            Ok(outcome) => outcome,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(match outcome {
            Ok(updated) => {
                let unknown_state = updated.unknown_state.then(|| MemberWarning {
                    code: MemberWarningCode::UnknownState,
                    field: vec!["input".to_owned(), "state".to_owned()],
                    message: "The country has no state or province of this name or code. Check both.".to_owned(),
                });
                let member = reread(ctx, updated.member_id).await;
                MemberUpdatePayload { member, warnings: unknown_state.into_iter().collect(), user_errors: Vec::new() }
            }
            Err(user_errors) => MemberUpdatePayload { member: None, warnings: Vec::new(), user_errors },
        }))
    }

    /// Shuts members or invited people out at once; seats are kept. Needs `members.suspend`; not yourself, not the owner.
    async fn member_suspend(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to suspend.")] input: MemberSuspendInput,
    ) -> Option<Result<MemberSuspendPayload>> {
        let outcome = take(ctx, Step::Suspend, asked!(input, None)).await;
        Some(answer(ctx, outcome).await)
    }

    /// Gives suspended members the status before. Needs `members.suspend`; not yourself.
    async fn member_activate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to let in again.")] input: MemberActivateInput,
    ) -> Option<Result<MemberActivatePayload>> {
        let outcome = take(ctx, Step::Activate, asked!(input, None)).await;
        Some(answer(ctx, outcome).await)
    }

    /// Takes members out and frees their seats; a successor takes over what they are responsible for. Needs `members.deactivate`; not
    /// yourself, not the owner.
    async fn member_deactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to take out.")] input: MemberDeactivateInput,
    ) -> Option<Result<MemberDeactivatePayload>> {
        let outcome =
            take(ctx, Step::Deactivate, asked!(input, input.successor_id, input.release_linked, input.remove_seat))
                .await;
        Some(answer(ctx, outcome).await)
    }

    /// Takes deactivated members back: takes seats and gives the status before. Needs `members.deactivate`.
    async fn member_reactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to take back.")] input: MemberReactivateInput,
    ) -> Option<Result<MemberReactivatePayload>> {
        let outcome = take(ctx, Step::Reactivate, asked!(input, None)).await;
        Some(answer(ctx, outcome).await)
    }

    /// Deletes members or invited people for good, with their personal data; whoever is in no other account loses their login. Events stay,
    /// without names. Needs `members.delete`, and every permission that the member holds; not yourself, not the owner.
    async fn member_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to delete.")] input: MemberDeleteInput,
    ) -> Option<Result<MemberDeletePayload>> {
        let outcome = take(ctx, Step::Delete, asked!(input, input.successor_id, input.release_linked, false)).await;
        Some(split(outcome).map(|outcome| match outcome {
            Ok((_, taken)) => MemberDeletePayload {
                deleted_ids: Some(taken.members.iter().map(|member| member.to_string().into()).collect()),
                user_errors: user_errors(taken.refused),
            },
            Err(user_errors) => MemberDeletePayload { deleted_ids: None, user_errors },
        }))
    }

    /// Leaves the account: the seat is free, and this session ends. Anybody may but the owner. An administrator can take you back.
    async fn member_leave(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How to leave.")] input: MemberLeaveInput,
    ) -> Option<Result<MemberLeavePayload>> {
        let outcome = async {
            let successor = input.successor_id.as_ref().map(parse_id::<MemberId>);
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                Box::pin(async move { member::leave(change, actor, successor).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(split(outcome).map(|outcome| match outcome {
            Ok(member) => MemberLeavePayload { member_id: Some(member.to_string().into()), user_errors: Vec::new() },
            Err(user_errors) => MemberLeavePayload { member_id: None, user_errors },
        }))
    }
}
