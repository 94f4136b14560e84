//! What the fuzz targets do with an input.
//!
//! The bodies live here, and not beside the targets in `fuzz/`, so that `tests/fuzz_corpora.rs` runs them over the
//! committed inputs with the ordinary compiler. Each body holds any input against what its parser promises: no panic,
//! what is accepted survives being written and read again, and an error is one line without control characters.

use std::path::Path;

use keyfob::Project;
use keyfob_core::{
    Environment, Error, Fallback, MAX_REFERENCE_BYTES, PieceKind, Reference, SecretName, SecretRef, SecretValue, StoreUrl,
    is_scheme, scan,
};
use keyfob_env::dotenv::{self, Document};
use keyfob_envelope::{Context, KeyEncryptionKey, RawKey, Sealed, StoreId, kek_of};
use keyfob_snapshot::{Manifest, SnapshotDirectory, SnapshotId};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A body: panics when a promise is broken.
pub type Body = fn(&[u8]);

/// Every target: the name of its file in `fuzz/fuzz_targets` and of its directory in `fuzz/corpus`, and its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("dotenv", dotenv),
    ("envelope", envelope),
    ("keyfob_toml", keyfob_toml),
    ("name", name),
    ("reference", reference),
    ("snapshot", snapshot),
    ("url", url),
];

/// `.env` files: reading, writing and quoting.
pub fn dotenv(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(quoted) = accepted(dotenv::quote(text)) {
        let line = format!("NAME={}\n", *quoted);
        let document = accepted(Document::parse(&line).map_err(Error::from));
        let value = document
            .as_ref()
            .and_then(|document| document.get("NAME"))
            .map(|entry| entry.value());
        assert_eq!(value, Some(text), "a value is read as it was quoted");
    }
    let Some(mut document) = accepted(Document::parse(text).map_err(Error::from)) else {
        return;
    };
    assert_eq!(document.text(), text, "an unchanged file is written as it was read");
    let before = values(&document);
    for entry in document.entries() {
        assert!(text.get(entry.span()).is_some(), "an entry stands inside the file");
        for (offset, _) in entry.value().char_indices() {
            assert!(text.is_char_boundary(entry.text_offset(offset)));
        }
    }

    // A value that needs every kind of care changes its own variable and nothing else.
    let difficult = "a'b\"c\\n\n# ${X} \u{e9}\t";
    let variable = before.first().map_or("NEW", |(name, _)| name);
    if accepted(document.set(variable, difficult)).is_none() {
        return;
    }
    let changed = accepted(Document::parse(document.text()).map_err(Error::from));
    let Some(changed) = changed else {
        panic!("what was changed can be read")
    };
    assert_eq!(changed.get(variable).map(|entry| entry.value()), Some(difficult));
    let others = |values: Vec<(String, String)>| values.into_iter().filter(|(name, _)| name != variable).collect::<Vec<_>>();
    assert_eq!(
        others(values(&changed)),
        others(before.clone()),
        "the others are as they were"
    );
    if accepted(document.remove(variable)).is_some() {
        assert_eq!(values(&document), others(before.clone()));
    }
}

fn values(document: &Document) -> Vec<(String, String)> {
    document
        .entries()
        .map(|entry| (entry.name().to_owned(), entry.value().to_owned()))
        .collect()
}

/// Sealed values, wrapped data keys and key texts.
pub fn envelope(input: &[u8]) {
    if let Some(sealed) = accepted(Sealed::parse(input)) {
        assert_eq!(sealed.to_bytes(), input, "a sealed value is written as it was read");
        let Ok(key) = KeyEncryptionKey::generate() else { return };
        let context = Context {
            store: StoreId([0; 16]),
            name: "name",
            version: 1,
            metadata: &[],
        };
        assert!(
            key.open(&context, &sealed.wrapped_key, &sealed.ciphertext).is_err(),
            "nothing opens with a key that is new"
        );
    }
    accepted(kek_of(input));
    if let Ok(text) = std::str::from_utf8(input) {
        accepted(RawKey::parse(text));
    }
}

/// `keyfob.toml`, in every environment that it has.
pub fn keyfob_toml(input: &[u8]) {
    let environment = Environment::fake()
        .current_dir("/project")
        .file("/project/keyfob.toml", input)
        .build();
    let Some(project) = accepted(Project::load(&environment, "/project/keyfob.toml")) else {
        return;
    };
    let environments = std::iter::once(None).chain(project.environments().map(Some));
    for name in environments {
        let Some(settings) = accepted(project.settings(name)) else {
            continue;
        };
        for (name, url) in &settings.stores {
            assert!(is_scheme(name), "a store's name can be a scheme");
            assert!(!url.holds_secret(), "the file holds no secrets");
            assert_eq!(
                url.base(),
                Some(Path::new("/project")),
                "relative paths stand beside the file"
            );
        }
        assert!(settings.aliases.keys().all(|alias| is_scheme(alias)));
    }
}

/// Names of secrets, alone and inside a reference.
pub fn name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(name) = accepted(SecretName::new(text)) else { return };
    assert_eq!(name.as_str(), text, "a name is kept as it was written");
    assert!(text.len() <= SecretName::MAX_BYTES);
    assert!(name.segments().all(|segment| !matches!(segment, "" | "." | "..")));

    let reference = SecretRef::new(name);
    assert_eq!(
        accepted(reference.to_string().parse()),
        Some(reference),
        "every name can be referred to"
    );
}

/// The scanner and the parser of references.
pub fn reference(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut end = 0;
    for piece in scan(text, |_| true) {
        assert!(piece.span.start >= end, "pieces come in order and apart");
        end = piece.span.end;
        let Some(written) = text.get(piece.span) else {
            panic!("a piece is cut inside a character")
        };
        match piece.kind {
            PieceKind::Escape => assert_eq!(written, "$"),
            PieceKind::Reference(reference) => {
                assert!(!written.contains('\n') && written.len() <= MAX_REFERENCE_BYTES);
                if let Some(reference) = accepted(reference) {
                    let body = written.get(2..written.len() - 1).unwrap_or_default();
                    assert_eq!(
                        Reference::parse(body).ok(),
                        Some(reference),
                        "the scanner gives what the parser gives"
                    );
                }
            }
        }
    }
    if let Some(reference) = accepted(Reference::parse(text)) {
        survives_being_written(&reference);
    }
    if let Some(reference) = accepted(text.parse::<SecretRef>()) {
        assert_eq!(accepted(reference.to_string().parse()), Some(reference));
    }
}

/// The file of a snapshot: what it says without its key, and with the key that those in the corpus were made with.
pub fn snapshot(input: &[u8]) {
    thread_local! {
        static PLACE: Option<(TempDir, Runtime)> = TempDir::new().ok().zip(runtime());
    }
    let id = input.get(17..33).and_then(|id| <[u8; 16]>::try_from(id).ok());
    let Ok(id) = StoreId(id.unwrap_or_default()).to_string().parse::<SnapshotId>() else {
        panic!("any 16 bytes are an id")
    };
    PLACE.with(|place| {
        let Some((directory, runtime)) = place else { return };
        let directory = SnapshotDirectory::new(directory.path());
        let path = directory.path_of(id);
        if std::fs::write(&path, input).is_ok() {
            runtime.block_on(read_snapshot(&directory, id));
        }
        let _ = std::fs::remove_file(path);
    });
}

async fn read_snapshot(directory: &SnapshotDirectory, id: SnapshotId) {
    let manifest = accepted(directory.manifest(id).await);
    let is_undamaged = accepted(directory.check(id).await).is_some();
    let listed = accepted(directory.list().await).unwrap_or_default();
    let is_readable: Vec<bool> = listed.iter().map(|listed| listed.summary.is_ok()).collect();
    assert_eq!(is_readable, [manifest.is_some()], "what can be read is listed so");
    let Some(snapshot) = accepted(directory.open_snapshot(id, &RawKey::new(&[7; 32])).await) else {
        return;
    };
    assert_eq!(manifest.as_ref(), Some(snapshot.manifest()), "it is proven as it was read");
    if let Some(verified) = accepted(snapshot.verify().await) {
        assert!(is_undamaged, "what is proven has its digest");
        let names = manifest.iter().flat_map(|manifest: &Manifest| &manifest.secrets);
        assert_eq!(verified.secrets, names.clone().count());
        for secret in names {
            assert!(
                accepted(snapshot.secret(&secret.name).await).is_some(),
                "what is proven is read"
            );
        }
    }
}

fn runtime() -> Option<Runtime> {
    tokio::runtime::Builder::new_current_thread().build().ok()
}

/// URLs of stores.
pub fn url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(url) = accepted(StoreUrl::parse(text)) else { return };
    let shown = url.to_string();
    assert_one_line(&shown);
    // What is shown is percent-encoded, and so may be longer than what is accepted.
    if shown.len() > StoreUrl::MAX_BYTES {
        return;
    }
    let again = accepted(StoreUrl::parse(&shown));
    let Some(again) = again else {
        panic!("what is shown of a URL is a URL")
    };
    assert_eq!(again.to_string(), shown, "what is shown hides nothing more the second time");
    assert_eq!(
        (again.scheme(), again.host(), again.port()),
        (url.scheme(), url.host(), url.port())
    );

    accepted(url.path());
    let environment = Environment::fake().current_dir("/here").home("/home/me").build();
    if let Some(Some(path)) = accepted(url.file_path(&environment)) {
        assert!(path.is_absolute());
    }
    let mut parameters = url.parameters();
    accepted(parameters.take_parsed::<u16>("version", "a number"));
    let password: Option<SecretValue> = parameters.take_secret("password");
    drop(password);
    accepted(parameters.finish());
}

/// What a parser accepted. What it refused must make a fit message.
fn accepted<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert_one_line(&format!("{error} {error:?}"));
            None
        }
    }
}

/// What may be printed on a terminal without a second look.
fn assert_one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?} holds a control character");
}

fn survives_being_written(reference: &Reference) {
    // A default is never shown, so it can't be read again.
    if matches!(reference.fallback, Fallback::Text(_)) {
        return;
    }
    let written = reference.to_string();
    let body = written.get(2..written.len() - 1).unwrap_or_default();
    assert_eq!(accepted(Reference::parse(body)).as_ref(), Some(reference), "{written}");
    if body.len() + 3 <= MAX_REFERENCE_BYTES {
        let pieces = scan(&written, |_| true);
        assert!(
            matches!(&*pieces, [piece] if piece.span == (0..written.len())),
            "the scanner finds {written} as one reference"
        );
    }
}
