//! JSON, with comments and trailing commas accepted.

use jsonc_parser::ast::Value;
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, ParseStringErrorKind, parse_to_ast};
use zeroize::Zeroizing;

use super::offsets::{LineBreaks, OffsetMap, Rules, follow};
use super::path::Path;
use super::scan::{Fault, Literal, Scan, Scanned};
use super::{MAX_DEPTH, Slot};

pub(super) fn scan(text: &str) -> Result<Scan, Fault> {
    let json = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let base = text.len() - json.len();
    let options = ParseOptions {
        allow_comments: true,
        allow_loose_object_property_names: false,
        allow_trailing_commas: true,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(json, &CollectOptions::default(), &options)
        .map_err(|error| fault(base + error.range().start, error.kind()))?;
    let Some(root) = parsed.value else {
        return Err(Fault::new(text.len(), "there is no value"));
    };
    let mut walk = Walk {
        json,
        base,
        path: Path::default(),
        scanned: Scanned::default(),
    };
    walk.value(&root)?;
    Ok(walk.scanned.finish())
}

pub(super) fn write(value: &str) -> Zeroizing<String> {
    // No character needs more than six times its bytes: a buffer that grows leaves copies behind.
    let mut literal = Zeroizing::new(String::with_capacity(6 * value.len() + 2));
    literal.push('"');
    for character in value.chars() {
        match character {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            // The last four are legal, but not in JavaScript, or not seen by people.
            '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}' => {
                literal.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => literal.push(character),
        }
    }
    literal.push('"');
    literal
}

pub(super) fn offsets(raw: &str, text: &str) -> OffsetMap {
    let rules = Rules {
        opening: 1,
        closing: 1,
        escapes: true,
        doubled_quotes: false,
        line_breaks: LineBreaks::Kept,
    };
    follow(raw, text, &rules)
}

struct Walk<'t> {
    json: &'t str,
    base: usize,
    path: Path,
    scanned: Scanned,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        match value {
            Value::StringLit(string) => {
                let span = self.string(string.range)?;
                self.scanned
                    .slot(Slot::new(&*string.value, span, self.path.to_key(), Literal::Json));
            }
            Value::NumberLit(number) => self.scanned.other(("number", number.value)),
            Value::BooleanLit(boolean) => self.scanned.other(("boolean", boolean.value)),
            Value::NullKeyword(_) => self.scanned.other("null"),
            Value::Array(array) => {
                self.check_depth(array.range.start)?;
                self.scanned.other(("array", array.elements.len()));
                for (index, element) in array.elements.iter().enumerate() {
                    self.path.push_index(index);
                    self.value(element)?;
                    self.path.pop();
                }
            }
            Value::Object(object) => {
                self.check_depth(object.range.start)?;
                self.scanned.other(("object", object.properties.len()));
                for property in &object.properties {
                    let name = property.name.as_str();
                    self.string(property.name.range())?;
                    self.scanned.other(("key", name));
                    self.path.push_key(name);
                    self.value(&property.value)?;
                    self.path.pop();
                }
            }
        }
        Ok(())
    }

    fn check_depth(&self, start: usize) -> Result<(), Fault> {
        if self.path.depth() >= MAX_DEPTH {
            return Err(Fault::too_deep(self.base + start));
        }
        Ok(())
    }

    /// The span of a literal in the text. The parser lets control characters pass, which JSON doesn't.
    fn string(&self, Range { start, end }: Range) -> Result<std::ops::Range<usize>, Fault> {
        match self.json[start..end].bytes().position(|byte| byte < 0x20) {
            Some(at) => Err(
                Fault::new(self.base + start + at, "a control character or line break in a string")
                    .with_hint("write it as an escape, for example `\\n`, or close the string"),
            ),
            None => Ok(self.base + start..self.base + end),
        }
    }
}

/// The parser's own words for some kinds quote the text.
fn fault(at: usize, kind: &ParseErrorKind) -> Fault {
    let problem = match kind {
        ParseErrorKind::String(ParseStringErrorKind::InvalidUnicodeEscapeSequence(_)) => {
            return Fault::new(at, "an escape that is half of a surrogate pair");
        }
        ParseErrorKind::NestingDepthExceeded => return Fault::too_deep(at),
        ParseErrorKind::UnexpectedWord => {
            return Fault::new(at, "a word that is not `true`, `false` or `null`").with_hint("put text in double quotes");
        }
        other => other.to_string(),
    };
    Fault::new(at, decapitalised(problem))
}

fn decapitalised(mut sentence: String) -> String {
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    sentence
}
