//! What a random value looks like.

use std::collections::HashSet;

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

use crate::random::random_bytes;

/// What a random value looks like: text of an alphabet, a UUID, or random bytes in hexadecimal or base64.
///
/// Every value that fits is as likely as any other. The bytes come from the operating system.
///
/// ```
/// use keyfob_rotation::{Alphabet, CharacterClass, Recipe};
///
/// let recipe = Recipe::text(24, Alphabet::symbols(), &[CharacterClass::Digit, CharacterClass::Symbol])?;
/// let value = recipe.generate()?;
/// assert_eq!(value.len(), 24);
/// assert!(recipe.entropy_bits() > 140.0);
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe(Form);

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Text {
        length: usize,
        alphabet: Alphabet,
        required: Vec<CharacterClass>,
        /// How many of all texts have a character of every required class.
        share: f64,
    },
    Uuid,
    Hex(usize),
    Base64(usize),
    Base64Url(usize),
}

/// The characters that a text may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alphabet(Vec<char>);

/// A kind of characters that a server may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CharacterClass {
    /// `a` to `z`.
    Lower,
    /// `A` to `Z`.
    Upper,
    /// `0` to `9`.
    Digit,
    /// Everything else.
    Symbol,
}

const LETTERS_AND_DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Texts of which fewer than this share have what is required are not waited for.
const LEAST_SHARE: f64 = 0.001;

impl CharacterClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Lower, Self::Upper, Self::Digit, Self::Symbol];

    /// Whether a character is of this class.
    #[must_use]
    pub fn contains(self, character: char) -> bool {
        match self {
            Self::Lower => character.is_ascii_lowercase(),
            Self::Upper => character.is_ascii_uppercase(),
            Self::Digit => character.is_ascii_digit(),
            Self::Symbol => !character.is_ascii_alphanumeric(),
        }
    }
}

impl Alphabet {
    /// The most characters.
    pub const MAX_CHARACTERS: usize = 256;

    /// These characters.
    ///
    /// # Errors
    /// `InvalidInput` for fewer than 2 or more than 256, one that stands there twice, a control character or white space.
    pub fn new(characters: &str) -> Result<Self> {
        let all: Vec<char> = characters.chars().collect();
        let problem = if !(2..=Self::MAX_CHARACTERS).contains(&all.len()) {
            "it must have 2 to 256 characters"
        } else if all.iter().collect::<HashSet<_>>().len() < all.len() {
            "a character stands there twice, which would make it likelier"
        } else if all
            .iter()
            .any(|character| character.is_control() || character.is_whitespace())
        {
            "it has white space or a control character"
        } else {
            return Ok(Self(all));
        };
        Err(Error::new(ErrorKind::InvalidInput, format!("invalid alphabet: {problem}")))
    }

    /// Letters and digits.
    #[must_use]
    pub fn alphanumeric() -> Self {
        Self(LETTERS_AND_DIGITS.chars().collect())
    }

    /// Letters, digits, `-` and `_`: safe in URLs.
    #[must_use]
    pub fn url() -> Self {
        Self(LETTERS_AND_DIGITS.chars().chain("-_".chars()).collect())
    }

    /// Letters, digits and `!#%+,-./:=@^_~`: none that a shell or a connection string would quote.
    #[must_use]
    pub fn symbols() -> Self {
        Self(LETTERS_AND_DIGITS.chars().chain("!#%+,-./:=@^_~".chars()).collect())
    }
}

impl Recipe {
    /// The longest text in characters, and the most random bytes.
    pub const MAX_LENGTH: usize = 4096;

    /// Text of `length` characters, with at least one of each class that is `required`.
    ///
    /// # Errors
    /// `InvalidInput` for a length of 0 or more than 4096, and when no text, or less than one in a thousand, has what is required.
    pub fn text(length: usize, alphabet: Alphabet, required: &[CharacterClass]) -> Result<Self> {
        check(length, "characters")?;
        let mut classes = Vec::new();
        for class in required {
            if !classes.contains(class) {
                classes.push(*class);
            }
        }
        let share = share(length, &alphabet, &classes);
        if share < LEAST_SHARE {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "hardly any text of this length and alphabet has a character of every required class",
            )
            .with_hint("make it longer, or take an alphabet with more characters of these classes"));
        }
        Ok(Self(Form::Text {
            length,
            alphabet,
            required: classes,
            share,
        }))
    }

    /// A random UUID (version 4, RFC 9562), in lower case with hyphens.
    #[must_use]
    pub const fn uuid() -> Self {
        Self(Form::Uuid)
    }

    /// So many random bytes in lower-case hexadecimal digits.
    ///
    /// # Errors
    /// `InvalidInput` for 0 or more than 4096.
    pub fn hex(bytes: usize) -> Result<Self> {
        check(bytes, "bytes").map(|()| Self(Form::Hex(bytes)))
    }

    /// So many random bytes in base64 with padding (RFC 4648, section 4).
    ///
    /// # Errors
    /// `InvalidInput` for 0 or more than 4096.
    pub fn base64(bytes: usize) -> Result<Self> {
        check(bytes, "bytes").map(|()| Self(Form::Base64(bytes)))
    }

    /// So many random bytes in base64 for URLs, without padding (RFC 4648, section 5).
    ///
    /// # Errors
    /// `InvalidInput` for 0 or more than 4096.
    pub fn base64_url(bytes: usize) -> Result<Self> {
        check(bytes, "bytes").map(|()| Self(Form::Base64Url(bytes)))
    }

    /// How many bits somebody has to guess.
    #[must_use]
    pub fn entropy_bits(&self) -> f64 {
        match &self.0 {
            Form::Text {
                length, alphabet, share, ..
            } => *length as f64 * (alphabet.0.len() as f64).log2() + share.log2(),
            Form::Uuid => 122.0,
            Form::Hex(bytes) | Form::Base64(bytes) | Form::Base64Url(bytes) => 8.0 * *bytes as f64,
        }
    }

    /// A new value.
    ///
    /// # Errors
    /// `Unavailable` when the operating system gives no random bytes.
    pub fn generate(&self) -> Result<SecretValue> {
        let text = match &self.0 {
            Form::Text {
                length,
                alphabet,
                required,
                ..
            } => loop {
                // Drawn anew as a whole: mending one that lacks a class would make some texts likelier.
                let mut text = draw(*length, alphabet)?;
                if has_all(&text, required) {
                    break std::mem::take(&mut *text);
                }
            },
            Form::Uuid => uuid(random_bytes(16)?),
            Form::Hex(bytes) => data_encoding::HEXLOWER.encode(&random_bytes(*bytes)?),
            Form::Base64(bytes) => data_encoding::BASE64.encode(&random_bytes(*bytes)?),
            Form::Base64Url(bytes) => data_encoding::BASE64URL_NOPAD.encode(&random_bytes(*bytes)?),
        };
        Ok(SecretValue::from(text))
    }

    /// Whether a value could have been made by this recipe.
    #[must_use]
    pub fn fits(&self, value: &SecretValue) -> bool {
        let Ok(text) = value.expose_str() else {
            return false;
        };
        let holds = |decoded: Result<Vec<u8>, data_encoding::DecodeError>, bytes: usize| {
            decoded.is_ok_and(|decoded| Zeroizing::new(decoded).len() == bytes)
        };
        match &self.0 {
            Form::Text {
                length,
                alphabet,
                required,
                ..
            } => {
                text.chars().count() == *length
                    && text.chars().all(|character| alphabet.0.contains(&character))
                    && has_all(text, required)
            }
            Form::Uuid => {
                let parts: Vec<&str> = text.split('-').collect();
                parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
                    && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
                    && parts[2].starts_with('4')
                    && parts[3].starts_with(['8', '9', 'a', 'b'])
            }
            Form::Hex(bytes) => holds(data_encoding::HEXLOWER.decode(text.as_bytes()), *bytes),
            Form::Base64(bytes) => holds(data_encoding::BASE64.decode(text.as_bytes()), *bytes),
            Form::Base64Url(bytes) => holds(data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()), *bytes),
        }
    }
}

fn check(length: usize, unit: &str) -> Result<()> {
    if (1..=Recipe::MAX_LENGTH).contains(&length) {
        return Ok(());
    }
    let message = format!("a random value has 1 to {} {unit}, not {length}", Recipe::MAX_LENGTH);
    Err(Error::new(ErrorKind::InvalidInput, message))
}

/// The share of texts that have a character of every class, by inclusion and exclusion: classes don't overlap.
fn share(length: usize, alphabet: &Alphabet, required: &[CharacterClass]) -> f64 {
    let total = alphabet.0.len() as f64;
    (0..1_u32 << required.len())
        .map(|lacking| {
            let lacks = |character: &char| {
                required
                    .iter()
                    .enumerate()
                    .any(|(index, class)| lacking & (1 << index) != 0 && class.contains(*character))
            };
            let left = alphabet.0.iter().filter(|character| !lacks(character)).count() as f64;
            let sign = if lacking.count_ones() % 2 == 0 { 1.0 } else { -1.0 };
            sign * (left / total).powf(length as f64)
        })
        .sum()
}

fn has_all(text: &str, required: &[CharacterClass]) -> bool {
    required
        .iter()
        .all(|class| text.chars().any(|character| class.contains(character)))
}

fn draw(length: usize, alphabet: &Alphabet) -> Result<Zeroizing<String>> {
    let characters = &alphabet.0;
    // Bytes from the last, incomplete repetition of the alphabet would make some characters likelier.
    let limit = 256 - 256 % characters.len();
    // Large enough that it never grows and leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(4 * length));
    let mut missing = length;
    while missing > 0 {
        let bytes = random_bytes(missing)?;
        for byte in bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit) {
            text.push(characters[byte % characters.len()]);
            missing -= 1;
        }
    }
    Ok(text)
}

fn uuid(mut bytes: Zeroizing<Vec<u8>>) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = Zeroizing::new(data_encoding::HEXLOWER.encode(&bytes));
    let mut text = String::with_capacity(36);
    for (index, part) in [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().enumerate() {
        if index > 0 {
            text.push('-');
        }
        text.push_str(&digits[part]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use CharacterClass::{Digit, Lower, Symbol, Upper};

    fn text(value: &SecretValue) -> &str {
        value.expose_str().unwrap()
    }

    #[test]
    fn every_recipe_makes_values_that_fit_it_and_differ() {
        let recipes = [
            Recipe::text(24, Alphabet::alphanumeric(), &[]).unwrap(),
            Recipe::text(4, Alphabet::symbols(), &CharacterClass::ALL).unwrap(),
            Recipe::text(16, Alphabet::new("αβγδεζηθ").unwrap(), &[]).unwrap(),
            Recipe::uuid(),
            Recipe::hex(16).unwrap(),
            Recipe::base64(17).unwrap(),
            Recipe::base64_url(17).unwrap(),
        ];
        for (index, recipe) in recipes.iter().enumerate() {
            let values: Vec<SecretValue> = (0..50).map(|_| recipe.generate().unwrap()).collect();
            assert!(values.iter().all(|value| recipe.fits(value)), "{recipe:?}");
            if index != 1 {
                let different: HashSet<&str> = values.iter().map(text).collect();
                assert_eq!(different.len(), 50, "{recipe:?}");
            }
            for (_, other) in recipes.iter().enumerate().filter(|(other, _)| *other != index) {
                assert!(!other.fits(&values[0]), "{other:?} of {recipe:?}");
            }
        }
        assert!(!Recipe::uuid().fits(&SecretValue::new(vec![0xff; 36])));
    }

    #[test]
    fn the_whole_alphabet_is_used_evenly() {
        // 62 does not divide 256: without care the first characters would come more often.
        let alphabet = Alphabet::alphanumeric();
        let recipe = Recipe::text(4096, alphabet.clone(), &[]).unwrap();
        let mut counts = vec![0_u32; 62];
        for _ in 0..50 {
            let value = recipe.generate().unwrap();
            for character in text(&value).chars() {
                counts[alphabet.0.iter().position(|known| *known == character).unwrap()] += 1;
            }
        }
        // Six standard deviations of a count of 204,800 draws with a chance of 1 in 62 each.
        assert!(counts.iter().all(|count| count.abs_diff(3303) < 342), "{counts:?}");
    }

    #[test]
    fn required_classes_cost_what_they_should() {
        let plain = Recipe::text(4, Alphabet::symbols(), &[]).unwrap();
        let all = Recipe::text(4, Alphabet::symbols(), &[Lower, Upper, Digit, Symbol, Lower]).unwrap();
        // 4! orders of one of each: 26, 26, 10 and 14 of 76 characters.
        let bits = (24.0_f64 * 26.0 * 26.0 * 10.0 * 14.0).log2();
        assert!((all.entropy_bits() - bits).abs() < 1e-9, "{}", all.entropy_bits());
        assert!((plain.entropy_bits() - 4.0 * 76_f64.log2()).abs() < 1e-9);
    }

    #[test]
    fn what_cant_be_made_is_refused_when_it_is_asked_for() {
        let refused = |recipe: Result<Recipe>| assert_eq!(recipe.unwrap_err().kind(), ErrorKind::InvalidInput);
        refused(Recipe::text(0, Alphabet::url(), &[]));
        refused(Recipe::text(4097, Alphabet::url(), &[]));
        refused(Recipe::text(3, Alphabet::symbols(), &CharacterClass::ALL));
        refused(Recipe::text(100, Alphabet::alphanumeric(), &[Symbol]));
        refused(Recipe::hex(0));
        refused(Recipe::base64(5000));
        for alphabet in ["", "a", "aa", "a b", "a\n", &('\u{100}'..='\u{200}').collect::<String>()] {
            assert_eq!(
                Alphabet::new(alphabet).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{alphabet:?}"
            );
        }
    }
}
