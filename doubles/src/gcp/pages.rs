//! Lists in pages: <https://google.aip.dev/158>.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::random;
use super::status::Status;

/// A larger `page_size` counts as this one, by the reference.
const MOST: usize = 25_000;

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) size: i32,
    pub(super) token: String,
    pub(super) filter: String,
}

/// The tokens that were given out. Nobody else can make one.
#[derive(Debug)]
pub(super) struct Pages {
    /// Which list a token goes on with, with which filter, and after which element.
    tokens: HashMap<String, (String, String, u64)>,
    /// How many elements a page has when the client leaves it to the service.
    usual: usize,
}

impl Pages {
    pub(super) fn new(usual: usize) -> Self {
        Self {
            tokens: HashMap::new(),
            usual: usual.clamp(1, MOST),
        }
    }

    /// One page of the list `parent`, whose elements come with numbers that fall from each to the next, as the body of
    /// an answer.
    pub(super) fn page(
        &mut self,
        parent: &str,
        field: &str,
        wanted: &Wanted,
        elements: impl Iterator<Item = (u64, Value)>,
    ) -> Result<Value, Status> {
        let size = match usize::try_from(wanted.size) {
            Ok(0) => self.usual,
            Ok(size) => size.min(MOST),
            Err(_) => return Err(Status::field("page_size", "The page_size must not be negative.")),
        };
        let after = if wanted.token.is_empty() {
            None
        } else {
            Some(self.after(parent, wanted)?)
        };
        let elements: Vec<(u64, Value)> = elements.collect();
        let total = elements.len();
        let mut rest = elements
            .into_iter()
            .filter(|(number, _)| after.is_none_or(|after| *number < after))
            .peekable();
        let mut page = Vec::new();
        let mut last = 0;
        while page.len() < size
            && let Some((number, element)) = rest.next()
        {
            page.push(element);
            last = number;
        }
        let mut body = json!({});
        if !page.is_empty() {
            body[field] = Value::Array(page);
        }
        if rest.peek().is_some() {
            let token = random::token();
            let place = (parent.to_owned(), wanted.filter.clone(), last);
            self.tokens.insert(token.clone(), place);
            body["nextPageToken"] = json!(token);
        }
        // By the reference the total is 0 when there is a filter.
        if wanted.filter.is_empty() && total > 0 {
            body["totalSize"] = json!(total);
        }
        Ok(body)
    }

    fn after(&self, parent: &str, wanted: &Wanted) -> Result<u64, Status> {
        match self.tokens.get(&wanted.token) {
            Some((of, filter, after)) if of == parent && *filter == wanted.filter => Ok(*after),
            Some(_) => Err(Status::field("page_token", "The page_token is of another list or filter.")),
            None => Err(Status::field("page_token", "The page_token is invalid.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(pages: &mut Pages, parent: &str, size: i32, token: &str, filter: &str) -> Result<Value, Status> {
        let wanted = Wanted {
            size,
            token: token.to_owned(),
            filter: filter.to_owned(),
        };
        let elements = [5, 4, 3, 2, 1].map(|number| (number, json!(number)));
        pages.page(parent, "numbers", &wanted, elements.into_iter())
    }

    #[test]
    fn every_element_comes_once() {
        let mut pages = Pages::new(2);
        let mut came = Vec::new();
        let mut token = String::new();
        loop {
            let mut body = page(&mut pages, "a", 0, &token, "").unwrap();
            assert_eq!(body["totalSize"], 5);
            came.append(body["numbers"].as_array_mut().unwrap());
            match body["nextPageToken"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(json!(came), json!([5, 4, 3, 2, 1]));
        // A last page that is full has no token.
        assert!(page(&mut pages, "a", 5, "", "").unwrap().get("nextPageToken").is_none());
        assert_eq!(page(&mut pages, "a", i32::MAX, "", "x").unwrap().get("totalSize"), None);
    }

    #[test]
    fn a_token_is_for_its_own_list_only() {
        let mut pages = Pages::new(2);
        let body = page(&mut pages, "a", 1, "", "x").unwrap();
        let token = body["nextPageToken"].as_str().unwrap();
        assert_eq!(page(&mut pages, "a", 1, token, "x").unwrap()["numbers"], json!([4]));
        for (parent, token, filter) in [("b", token, "x"), ("a", token, "y"), ("a", token, ""), ("a", "invented", "x")] {
            page(&mut pages, parent, 1, token, filter).unwrap_err();
        }
        page(&mut pages, "a", -1, "", "").unwrap_err();
    }
}
