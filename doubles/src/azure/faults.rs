//! Throttling, faults that a test asks for, and how often each route was called.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

/// The window of Key Vault's limits, in milliseconds.
const WINDOW: i64 = 10_000;

/// Every route that a fault can be asked for. `vault` stands for all of the vault.
pub(super) const ROUTES: [&str; 13] = [
    "vault",
    "set",
    "get",
    "update",
    "delete",
    "list",
    "list-versions",
    "get-deleted",
    "list-deleted",
    "recover",
    "purge",
    "token",
    "managed-identity",
];

/// A fault for the next requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) route: String,
    pub(super) status: u16,
    pub(super) retry_after: Option<u32>,
    /// How many requests get it.
    pub(super) count: u32,
    /// What was asked for is done, and the answer lost.
    pub(super) afterwards: bool,
}

/// The answer that a request gets instead of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: u16,
    /// In seconds.
    pub(super) retry_after: Option<u32>,
    /// The request is carried out first.
    pub(super) afterwards: bool,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Requests to the vault in ten seconds.
    limit: Option<usize>,
    recent: VecDeque<i64>,
    demands: Vec<Demand>,
    counts: BTreeMap<String, u64>,
}

impl Demand {
    /// `{"route": "set", "status": 503, "count": 2, "retry_after": 1, "afterwards": true}`. Unless they are given,
    /// `count` is 1, there is no `Retry-After`, and the request is not carried out.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let Ok(Value::Object(mut object)) = serde_json::from_slice(body) else {
            return Err("the body is not a JSON object".to_owned());
        };
        let route = match object.remove("route") {
            Some(Value::String(route)) if ROUTES.contains(&route.as_str()) => route,
            _ => return Err(format!("`route` is not one of {}", ROUTES.join(", "))),
        };
        let status = match number(&mut object, "status")? {
            Some(status @ (401 | 429 | 500 | 502 | 503 | 504)) => status as u16,
            _ => return Err("`status` is not one of 401, 429, 500, 502, 503, 504".to_owned()),
        };
        let demand = Self {
            route,
            status,
            retry_after: number(&mut object, "retry_after")?,
            count: number(&mut object, "count")?.unwrap_or(1),
            afterwards: match object.remove("afterwards") {
                None => false,
                Some(Value::Bool(afterwards)) => afterwards,
                Some(_) => return Err("`afterwards` is not true or false".to_owned()),
            },
        };
        match object.keys().next() {
            None => Ok(demand),
            Some(name) => Err(format!("`{name}` is not known")),
        }
    }
}

fn number(object: &mut Map<String, Value>, name: &str) -> Result<Option<u32>, String> {
    let Some(value) = object.remove(name) else {
        return Ok(None);
    };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.map(Some).ok_or_else(|| format!("`{name}` is not a number"))
}

impl Faults {
    pub(super) fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    pub(super) fn demand(&mut self, demand: Demand) {
        self.demands.push(demand);
    }

    /// Forgets the faults that were asked for and not used.
    pub(super) fn clear(&mut self) {
        self.demands.clear();
    }

    /// How often each route was called, faults included.
    pub(super) fn counts(&self) -> Value {
        json!(self.counts)
    }

    /// Counts a request to the vault, and says whether it is to fail. `now` in milliseconds.
    pub(super) fn vault(&mut self, route: &str, now: i64) -> Option<Fault> {
        self.other(route)
            .or_else(|| self.take("vault"))
            .or_else(|| self.throttle(now))
    }

    /// Counts a request to another route.
    pub(super) fn other(&mut self, route: &str) -> Option<Fault> {
        *self.counts.entry(route.to_owned()).or_default() += 1;
        self.take(route)
    }

    fn take(&mut self, route: &str) -> Option<Fault> {
        let at = self.demands.iter().position(|demand| demand.route == route)?;
        let demand = &mut self.demands[at];
        demand.count = demand.count.saturating_sub(1);
        let fault = Fault {
            status: demand.status,
            retry_after: demand.retry_after,
            afterwards: demand.afterwards,
        };
        if demand.count == 0 {
            self.demands.remove(at);
        }
        Some(fault)
    }

    /// What is refused counts not: a client that waits as long as it was told gets through.
    fn throttle(&mut self, now: i64) -> Option<Fault> {
        let limit = self.limit?;
        while self.recent.front().is_some_and(|time| now - time >= WINDOW) {
            self.recent.pop_front();
        }
        if self.recent.len() < limit {
            self.recent.push_back(now);
            return None;
        }
        let free = self.recent.front().map_or(WINDOW, |oldest| oldest + WINDOW - now);
        let seconds = u32::try_from((free + 999) / 1000).unwrap_or(1).max(1);
        Some(Fault {
            status: 429,
            retry_after: Some(seconds),
            afterwards: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_given_as_often_as_was_asked_and_only_to_its_route() {
        let mut faults = Faults::new(None);
        let demand = Demand::parse(br#"{"route":"get","status":429,"count":2,"retry_after":1}"#).unwrap();
        faults.demand(demand);
        let fault = Some(Fault {
            status: 429,
            retry_after: Some(1),
            afterwards: false,
        });
        assert_eq!(faults.vault("set", 0), None);
        assert_eq!(faults.vault("get", 0), fault);
        assert_eq!(faults.vault("get", 0), fault);
        assert_eq!(faults.vault("get", 0), None);
        assert_eq!(faults.counts(), json!({ "get": 3, "set": 1 }));
    }

    #[test]
    fn a_fault_of_the_vault_is_for_every_route_of_it() {
        let mut faults = Faults::new(None);
        faults.demand(Demand::parse(br#"{"route":"vault","status":503}"#).unwrap());
        assert_eq!(faults.other("token"), None);
        assert_eq!(faults.vault("list", 0).map(|fault| fault.status), Some(503));
        assert_eq!(faults.vault("list", 0), None);
        faults.demand(Demand::parse(br#"{"route":"vault","status":503}"#).unwrap());
        faults.clear();
        assert_eq!(faults.vault("list", 0), None);
    }

    #[test]
    fn a_demand_that_makes_no_sense_is_refused() {
        for body in [
            "",
            "[]",
            r#"{"route":"gett","status":429}"#,
            r#"{"route":"get","status":200}"#,
            r#"{"route":"get"}"#,
            r#"{"route":"get","status":429,"count":-1}"#,
            r#"{"route":"get","status":429,"times":1}"#,
            r#"{"route":"get","status":429,"afterwards":1}"#,
        ] {
            assert!(Demand::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_limit_is_of_ten_seconds_and_waiting_as_told_is_enough() {
        let mut faults = Faults::new(Some(2));
        assert_eq!(faults.vault("get", 0), None);
        assert_eq!(faults.vault("get", 4000), None);
        let fault = faults.vault("get", 5500).unwrap();
        assert_eq!((fault.status, fault.retry_after), (429, Some(5)));
        assert_eq!(faults.vault("get", 10_500), None);
        assert_eq!(faults.vault("get", 10_500).unwrap().retry_after, Some(4));
    }
}
