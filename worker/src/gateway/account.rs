//! On account: nothing is collected when something is confirmed. It is owed by the next statement, and somebody records the payment.

use domain::billing::charge::{Ask, Outcome};
use domain::id::AttemptId;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use jiff::SignedDuration;

use super::{Answer, Found, Gateway};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct OnAccount;

const OWED: Outcome = Outcome::Succeeded { collected: false };

impl Gateway for OnAccount {
    fn key_life(&self) -> SignedDuration {
        SignedDuration::MAX
    }

    fn charge<'a>(&'a self, _ask: &'a Ask) -> BoxFuture<'a, Answer> {
        ready(Answer::Outcomes(vec![OWED])).boxed()
    }

    fn look_up<'a>(&'a self, _ask: &'a Ask) -> BoxFuture<'a, Found> {
        ready(Found::Outcome(OWED)).boxed()
    }

    fn refund(&self, _attempt: AttemptId) -> BoxFuture<'_, bool> {
        ready(true).boxed()
    }
}
