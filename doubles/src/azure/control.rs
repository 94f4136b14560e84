//! What only the double has, on the port without TLS: faults on demand, and counts.

use hyper::Method;
use serde_json::json;

use super::faults::Demand;
use super::{Double, lock};
use crate::server::{Request, Response};

pub(super) const PREFIX: &str = "/_double/";

pub(super) fn handle(double: &Double, request: &Request) -> Response {
    let mut faults = lock(&double.faults);
    match (&request.method, request.path.strip_prefix(PREFIX).unwrap_or_default()) {
        (&Method::POST, "faults") => match Demand::parse(&request.body) {
            Ok(demand) => {
                faults.demand(demand);
                Response::empty(204)
            }
            Err(message) => Response::json(400, &json!({ "error": message })),
        },
        (&Method::DELETE, "faults") => {
            faults.clear();
            Response::empty(204)
        }
        (&Method::GET, "counts") => Response::json(200, &faults.counts()),
        _ => Response::json(
            404,
            &json!({ "error": "there is `faults` (POST, DELETE) and `counts` (GET)" }),
        ),
    }
}
