//! Batches: each store is asked in one call for all that those before it could not answer.

use crate::error::{Error, ErrorKind, Result};
use crate::failover::Inner;
use crate::failover::breaker::Verdict;
use crate::failover::member::{Member, Missed};
use crate::failover::trail::Trail;
use crate::options::GetRequest;
use crate::secret::Secret;

/// A request without an answer yet.
struct Pending {
    index: usize,
    request: GetRequest,
    /// The store of an exact version.
    only: Option<usize>,
    trail: Trail,
}

impl Inner {
    pub(super) async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut answers: Vec<Option<Result<Secret>>> = requests.iter().map(|_| None).collect();
        let mut pending = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            match self.pending(index, request) {
                Ok(request) => pending.push(request),
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        for (rank, member) in self.members.iter().enumerate() {
            let (asked, others) = self.for_member(rank, member, pending);
            pending = others;
            if asked.is_empty() {
                continue;
            }
            for (mut request, answer) in self.ask_many(member, asked).await {
                match answer {
                    Ok(mut secret) => {
                        member.meters.answered();
                        self.mark(secret.metadata_mut(), rank, request.trail.passed);
                        answers[request.index] = Some(Ok(secret));
                    }
                    Err(missed) if self.passes_over(rank, missed.passed.kind) => {
                        request.trail.pass_over(member, missed);
                        pending.push(request);
                    }
                    Err(missed) => {
                        let error = request.trail.end(missed, &self.options);
                        answers[request.index] = Some(Err(error.with("name", request.request.name.as_str())));
                    }
                }
            }
        }
        for Pending {
            index, request, trail, ..
        } in pending
        {
            answers[index] = Some(Err(trail.nobody(&self.options).with("name", request.name.as_str())));
        }
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err(Trail::default().nobody(&self.options))))
            .collect()
    }

    fn pending(&self, index: usize, request: &GetRequest) -> Result<Pending> {
        self.info.capabilities.check_get(&request.name, &request.options)?;
        let mut request = request.clone();
        let pinned = self.pinned(&request.name, &request.options)?;
        let only = pinned.as_ref().map(|(rank, _)| *rank);
        if let Some((_, options)) = pinned {
            request.options = options;
        }
        Ok(Pending {
            index,
            request,
            only,
            trail: Trail::default(),
        })
    }

    /// The requests that this store is asked, and the others.
    fn for_member(&self, rank: usize, member: &Member, pending: Vec<Pending>) -> (Vec<Pending>, Vec<Pending>) {
        let can = member.can();
        let (mut asked, mut others) = (Vec::new(), Vec::new());
        for mut request in pending {
            if request.only.is_some_and(|only| only != rank) {
                others.push(request);
                continue;
            }
            match can.check_get(&request.request.name, &request.request.options) {
                Ok(()) => asked.push(request),
                Err(error) => {
                    request.trail.pass_over(member, member.missed(error, false));
                    others.push(request);
                }
            }
        }
        (asked, others)
    }

    async fn ask_many(&self, member: &Member, asked: Vec<Pending>) -> Vec<(Pending, Result<Secret, Missed>)> {
        let batch: Vec<GetRequest> = asked.iter().map(|pending| pending.request.clone()).collect();
        let limit = self.options.read_limit(self.members.len(), batch.len());
        let answers = self
            .ask_for(member, limit, member.store.get_many(&batch), |answers| judge(answers))
            .await;
        let mut answers = answers.map(IntoIterator::into_iter);
        let pair = |request| {
            let answer = match &mut answers {
                Ok(answers) => answers.next().unwrap_or_else(|| Err(too_few())),
                Err(missed) => return (request, Err(member.missed(missed.error.clone(), missed.passed.asked))),
            };
            (request, answer.map_err(|error| member.missed(error, true)))
        };
        asked.into_iter().map(pair).collect()
    }
}

/// A batch is one call. It failed when most of its answers say that the store is ill.
fn judge(answers: &[Result<Secret>]) -> Verdict {
    let verdicts = || {
        answers
            .iter()
            .map(|answer| answer.as_ref().map_or_else(Verdict::of, |_| Verdict::Well))
    };
    let is_ill = |verdict: &Verdict| matches!(verdict, Verdict::Ill(..));
    let telling = match verdicts().filter(is_ill).count() * 2 > answers.len() {
        true => verdicts().find(is_ill),
        false => verdicts().find(|verdict| *verdict == Verdict::Well),
    };
    telling.unwrap_or(Verdict::Silent)
}

fn too_few() -> Error {
    Error::new(ErrorKind::Other, "the store left a request of a batch without an answer")
}
