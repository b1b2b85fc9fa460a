//! How long ago something was, by this machine's clock.

use jiff::Timestamp;
use mainstay_core::Millis;

use super::super::{Context, StepError, wording};

/// One moment, the same for all that a step judges.
#[derive(Debug, Clone, Copy)]
pub struct Now(pub Timestamp);

impl Now {
    /// # Errors
    /// When the clock shows a time that is none.
    pub fn of(kind: &str, context: &Context) -> Result<Now, StepError> {
        let now = Timestamp::from_millisecond(context.host.wall().0);
        now.map(Now).map_err(|error| StepError::failed(format!("{kind}: this machine's clock: {error}")))
    }

    /// Nothing of what is still to come.
    #[must_use]
    pub fn age(&self, at: Timestamp) -> Millis {
        Millis(u64::try_from(self.0.as_millisecond().saturating_sub(at.as_millisecond())).unwrap_or(0))
    }

    #[must_use]
    pub fn ago(&self, at: Timestamp) -> String {
        wording::span(self.age(at))
    }

    /// Whether something has been so for longer than it may. What does not say since when counts as long ago.
    #[must_use]
    pub fn is_over(&self, since: Option<Timestamp>, span: Millis) -> bool {
        since.is_none_or(|since| self.age(since) > span)
    }
}
