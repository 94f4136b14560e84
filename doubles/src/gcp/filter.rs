//! Filters of lists, as <https://cloud.google.com/secret-manager/docs/filtering> and <https://google.aip.dev/160> have
//! them: comparisons with `AND`, `OR`, `NOT` and brackets. What is not understood is refused.

use jiff::Timestamp;

use super::status::Status;

/// A filter; the empty one lets everything pass.
#[derive(Debug, PartialEq)]
pub(super) struct Filter(Expression);

/// A field of an element of a list.
#[derive(Debug, Clone)]
pub(super) enum Field {
    /// Text, or nothing.
    Text(Option<String>),
    Time(Option<Timestamp>),
}

#[derive(Debug, PartialEq)]
enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare(String, Operator, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Has,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The longer ones first.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    (":", Operator::Has),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, Status> {
        if text.is_empty() {
            return Ok(Self(Expression::All(Vec::new())));
        }
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0 };
        let expression = parser.all()?;
        match parser.peek() {
            None => Ok(Self(expression)),
            Some(_) => Err(refused(text)),
        }
    }

    /// Whether an element passes; `field` gives its fields, `None` for a name that there is not.
    pub(super) fn passes(&self, field: &dyn Fn(&str) -> Option<Field>) -> Result<bool, Status> {
        self.0.passes(field)
    }
}

impl Expression {
    fn passes(&self, field: &dyn Fn(&str) -> Option<Field>) -> Result<bool, Status> {
        // Every part is looked at, so that a name that there is not is found whatever the others say.
        let each = |parts: &[Self]| -> Result<Vec<bool>, Status> { parts.iter().map(|part| part.passes(field)).collect() };
        match self {
            Self::All(parts) => Ok(each(parts)?.into_iter().all(|passes| passes)),
            Self::Any(parts) => Ok(each(parts)?.into_iter().any(|passes| passes)),
            Self::Not(part) => Ok(!part.passes(field)?),
            Self::Compare(name, operator, value) => match field(name) {
                None => Err(refused(name)),
                Some(Field::Text(text)) => compare_text(text.as_deref(), *operator, value).ok_or_else(|| refused(name)),
                Some(Field::Time(time)) => compare_time(time, *operator, value),
            },
        }
    }
}

fn compare_text(text: Option<&str>, operator: Operator, value: &str) -> Option<bool> {
    match operator {
        Operator::Has if value == "*" => Some(text.is_some()),
        Operator::Has => Some(text.is_some_and(|text| contains(text, value))),
        Operator::Equal => Some(text == Some(value)),
        Operator::NotEqual => Some(text != Some(value)),
        _ => None,
    }
}

/// Case does not count, and a `*` stands for any text.
fn contains(text: &str, value: &str) -> bool {
    let text = text.to_lowercase();
    let mut rest = text.as_str();
    value.to_lowercase().split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn compare_time(time: Option<Timestamp>, operator: Operator, value: &str) -> Result<bool, Status> {
    if operator == Operator::Has {
        return if value == "*" {
            Ok(time.is_some())
        } else {
            Err(refused(value))
        };
    }
    let other: Timestamp = value.parse().map_err(|_| refused(value))?;
    let Some(time) = time else { return Ok(false) };
    Ok(match operator {
        Operator::Has | Operator::Equal => time == other,
        Operator::NotEqual => time != other,
        Operator::Less => time < other,
        Operator::LessOrEqual => time <= other,
        Operator::Greater => time > other,
        Operator::GreaterOrEqual => time >= other,
    })
}

fn refused(what: &str) -> Status {
    Status::field("filter", format!("The filter is invalid at [{what}]."))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// In quotes: never a keyword.
    Text(String),
    Operator(Operator),
    Open,
    Close,
    Minus,
}

fn tokens(text: &str) -> Result<Vec<Token>, Status> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if let Some((symbol, operator)) = OPERATORS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            tokens.push(Token::Operator(*operator));
            rest = &rest[symbol.len()..];
        } else if first == '"' {
            let end = rest[1..].find('"').ok_or_else(|| refused(rest))?;
            if rest[1..=end].contains('\\') {
                return Err(refused(rest));
            }
            tokens.push(Token::Text(rest[1..=end].to_owned()));
            rest = &rest[end + 2..];
        } else if let Some(token) = [('(', Token::Open), (')', Token::Close)]
            .into_iter()
            .find(|(symbol, _)| *symbol == first)
        {
            tokens.push(token.1);
            rest = &rest[1..];
        } else if first == '-' && !matches!(tokens.last(), Some(Token::Operator(_))) {
            tokens.push(Token::Minus);
            rest = &rest[1..];
        } else {
            // The time of a timestamp has colons, so after an operator a word ends only at a space or a bracket.
            let value = matches!(tokens.last(), Some(Token::Operator(_)));
            let ends = |letter: char| letter.is_whitespace() || "()".contains(letter) || (!value && ":=!<>\"".contains(letter));
            let end = rest.find(ends).unwrap_or(rest.len());
            if end == 0 {
                return Err(refused(rest));
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(&Token::Word(word.to_owned()));
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Result<Token, Status> {
        let token = self.peek().cloned().ok_or_else(|| refused("the end"))?;
        self.at += 1;
        Ok(token)
    }

    /// Parts with `AND` or nothing between them.
    fn all(&mut self) -> Result<Expression, Status> {
        let mut parts = vec![self.any()?];
        while self.keyword("AND") || !matches!(self.peek(), None | Some(Token::Close)) {
            parts.push(self.any()?);
        }
        Ok(single(parts, Expression::All))
    }

    /// Parts with `OR` between them, which binds closer than `AND`.
    fn any(&mut self) -> Result<Expression, Status> {
        let mut parts = vec![self.part()?];
        while self.keyword("OR") {
            parts.push(self.part()?);
        }
        Ok(single(parts, Expression::Any))
    }

    fn part(&mut self) -> Result<Expression, Status> {
        if self.keyword("NOT") {
            return Ok(Expression::Not(Box::new(self.part()?)));
        }
        match self.next()? {
            Token::Minus => Ok(Expression::Not(Box::new(self.part()?))),
            Token::Open => {
                let inner = self.all()?;
                match self.next()? {
                    Token::Close => Ok(inner),
                    _ => Err(refused("a bracket")),
                }
            }
            Token::Word(field) => match (self.next()?, self.next()?) {
                (Token::Operator(operator), Token::Word(value) | Token::Text(value)) => {
                    Ok(Expression::Compare(field, operator, value))
                }
                _ => Err(refused(&field)),
            },
            _ => Err(refused("a part without a field")),
        }
    }
}

fn single(mut parts: Vec<Expression>, several: impl FnOnce(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            several(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Option<Field> {
        match name {
            "name" => Some(Field::Text(Some("projects/1/secrets/App-Key".to_owned()))),
            "state" => Some(Field::Text(Some("ENABLED".to_owned()))),
            "labels.team" => Some(Field::Text(Some("blue".to_owned()))),
            "labels.none" => Some(Field::Text(None)),
            "create_time" => Some(Field::Time(Some("2026-01-02T03:04:05Z".parse().unwrap()))),
            "expire_time" => Some(Field::Time(None)),
            _ => None,
        }
    }

    fn passes(filter: &str) -> Result<bool, Status> {
        Filter::parse(filter)?.passes(&field)
    }

    #[test]
    fn comparisons_pass_as_documented() {
        for (filter, expected) in [
            ("", true),
            ("name:app", true),
            ("name:app*key", true),
            ("name:key*app", false),
            ("name:\"App-Key\"", true),
            ("name=App-Key", false),
            ("name=projects/1/secrets/App-Key", true),
            ("state:ENABLED", true),
            ("state = DISABLED", false),
            ("state!=DISABLED", true),
            ("labels.team=blue", true),
            ("labels.none:*", false),
            ("NOT labels.none:*", true),
            ("-labels.team:*", false),
            ("create_time>2026-01-01T00:00:00Z AND create_time<2026-02-01T00:00:00Z", true),
            ("create_time>=\"2026-01-02T03:04:06Z\"", false),
            ("expire_time:*", false),
            ("name:x OR name:app", true),
            ("name:x OR name:app AND state:DISABLED", false),
            ("(name:x state:DISABLED) OR name:app", true),
            ("name:app state:ENABLED", true),
        ] {
            assert_eq!(passes(filter), Ok(expected), "{filter}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for filter in [
            "app",
            "unknown=1",
            "name:app OR unknown=1",
            "name",
            "name:",
            "name~app",
            "name<app",
            "(name:app",
            "name:app)",
            "name:\"app",
            "name:\"a\\\"\"",
            "create_time>yesterday",
            "create_time:2026",
            "AND",
            "name:app AND",
            "name:app OR",
            "=x",
        ] {
            assert!(passes(filter).is_err(), "{filter}");
        }
    }
}
