//! What happens to requests, and what a store must then say.

use keyfob_core::ErrorKind::{self, Corrupt, Other, Timeout, Unavailable};
use keyfob_integration_tests::fault_proxy::{Answer, Fault};

/// Stands in every answer that a fault gives, and may stand in no error.
pub(crate) const PLANTED: &str = "kfcanary-inananswer12";

#[derive(Debug, Clone)]
pub(crate) struct Spoil {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
    /// The kinds that a verb may fail with when this happens to a request that reads.
    pub(crate) reads: &'static [ErrorKind],
    /// The same for a request that writes.
    pub(crate) writes: &'static [ErrorKind],
    /// What the error's context must say.
    pub(crate) facts: &'static [(&'static str, &'static str)],
    /// How long the error must say to wait, in seconds.
    pub(crate) retry_after: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Refuse,
    Fault(Fault),
    /// A redirect to a host that listens.
    RedirectElsewhere,
}

impl Spoil {
    pub(crate) fn new(name: &'static str, fault: impl Into<Fault>, kinds: &'static [ErrorKind]) -> Self {
        Self {
            name,
            effect: Effect::Fault(fault.into()),
            reads: kinds,
            writes: kinds,
            facts: &[],
            retry_after: None,
        }
    }

    pub(crate) fn writes(mut self, kinds: &'static [ErrorKind]) -> Self {
        self.writes = kinds;
        self
    }

    pub(crate) fn facts(mut self, facts: &'static [(&'static str, &'static str)]) -> Self {
        self.facts = facts;
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

/// What can happen in front of any server. `content_type` is that of the service's answers.
pub(crate) fn common(content_type: &'static str, redirect: &'static [ErrorKind]) -> Vec<Spoil> {
    let json = |body: String| Answer::new(200).header("content-type", content_type).body(body);
    let page = |status| {
        let body = format!("<html><body>{PLANTED} permission denied, sealed</body></html>");
        Answer::new(status).header("content-type", "text/html").body(body)
    };
    let endless = |status, content_type| {
        let head = Answer::new(status).header("content-type", content_type);
        Fault::Endless(head.body(format!("{{\"a\":\"{PLANTED}\"}}, ")))
    };
    // A write whose answer never came is `Timeout`, the outcome is unknown. One that was answered with nonsense may say
    // that it is nonsense.
    let unknown: &[ErrorKind] = &[Timeout];
    let nonsense: &[ErrorKind] = &[Other, Timeout];
    // A store that can rely on what its service promises of a 5xx says that nothing was done; the others that it is unknown.
    let failed: &[ErrorKind] = &[Unavailable, Timeout];
    let status_200: &[(&str, &str)] = &[("status", "200")];
    vec![
        Spoil::new("refused connection", Fault::Pass, &[Unavailable]).effect(Effect::Refuse),
        Spoil::new("reset before the answer", Fault::Reset, &[Unavailable]).writes(unknown),
        Spoil::new("reset in the body", Fault::ResetAfter(20), &[Unavailable]).writes(unknown),
        Spoil::new("end in the body", Fault::CloseAfter(20), &[Unavailable]).writes(unknown),
        Spoil::new("hang", Fault::Hang, &[Timeout]),
        Spoil::new("half-open", Fault::HalfOpenAfter(20), &[Timeout]),
        Spoil::new("lost answer", Fault::LoseAnswer, &[Timeout]),
        Spoil::new("500 with a page", page(500), &[Unavailable])
            .writes(failed)
            .facts(&[("status", "500")]),
        Spoil::new("503 with a page", page(503), &[Unavailable])
            .writes(failed)
            .facts(&[("status", "503")]),
        Spoil::new("404 with a page", page(404), &[Other]).facts(&[("status", "404")]),
        Spoil::new("200 with a page", page(200), &[Other])
            .writes(nonsense)
            .facts(status_200),
        Spoil::new("malformed JSON", json(format!("{{\"data\": {{\"{PLANTED}\": ")), &[Other])
            .writes(nonsense)
            .facts(status_200),
        Spoil::new("JSON without data", json("{}".to_owned()), &[Other, Corrupt]).writes(nonsense),
        Spoil::new("JSON of another shape", json(format!("[\"{PLANTED}\"]")), &[Other]).writes(nonsense),
        // On a slow machine the deadline comes before the size is reached.
        Spoil::new("body without end", endless(200, content_type), nonsense),
        Spoil::new("page without end", endless(500, "text/html"), &[Other, Unavailable, Timeout]),
        Spoil::new("redirect to another host", Fault::Pass, redirect).effect(Effect::RedirectElsewhere),
    ]
}
