//! Whether a read could work now.

use futures_util::future::join_all;

use crate::error::{Error, ErrorKind, Result};
use crate::failover::Inner;
use crate::failover::breaker::BreakerState;
use crate::failover::member::{Member, within};
use crate::failover::trail::Trail;
use crate::store::Health;

impl Inner {
    /// Asks every store at once, ill ones too: who asks wants to know. So it tells the breakers nothing.
    ///
    /// A store with an error at which reads would stop is the answer even when a later one is well.
    pub(super) async fn health(&self) -> Result<Health> {
        let answers = join_all(self.members.iter().map(|member| self.health_of(member))).await;
        let now = self.clock.now();
        let mut health = Health::default();
        let mut trail = Trail::default();
        let mut is_served = false;
        for (member, answer) in self.members.iter().zip(answers) {
            let label = &member.label;
            match answer {
                Ok(own) => {
                    is_served = true;
                    let details: Vec<String> = own.details.iter().map(|(key, value)| format!(" ({key} {value})")).collect();
                    health.details.push(("member", format!("{label}: ok{}", details.concat())));
                    health
                        .warnings
                        .extend(own.warnings.into_iter().map(|warning| format!("`{label}`: {warning}")));
                    if member.status(now).state != BreakerState::Closed {
                        let warning = format!("`{label}` can serve again, the next reads will find out");
                        health.warnings.push(warning);
                    }
                }
                Err(error) if is_served || self.goes_on(error.kind()) => {
                    health.details.push(("member", format!("{label}: {}", error.kind())));
                    health.warnings.push(format!("`{label}` can't serve: {error}"));
                    trail.push(member.missed(error, true));
                }
                Err(error) => return Err(trail.end(member.missed(error, true), &self.options)),
            }
        }
        match is_served {
            true => Ok(health),
            false => Err(trail.nobody(&self.options)),
        }
    }

    async fn health_of(&self, member: &Member) -> Result<Health> {
        let limit = self.options.read_limit(self.members.len(), 1);
        let answer = within(self.clock.sleep(limit), member.store.health()).await;
        answer.unwrap_or_else(|| {
            let message = format!("no answer within {limit:?}");
            Err(Error::new(ErrorKind::Timeout, message).with("store", &*member.scheme))
        })
    }
}
