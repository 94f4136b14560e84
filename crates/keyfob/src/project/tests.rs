use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use keyfob_core::FakeEnvironment;
use proptest::prelude::*;
use tempfile::TempDir;

use std::time::Duration;

use super::*;
use crate::layers::Value;

/// The time to live of the cache, which the last one that says it decides.
fn ttl(settings: &Settings) -> Option<Value> {
    let mut given = settings.layers.iter().rev();
    Some(given.find(|given| given.row.path() == "cache.ttl")?.value.clone())
}

const FULL: &str = r#"
default = "team"
[stores.team]
url = "sqlite:secrets.db?key-file=~/key"
[stores.plain]
url = "dotenv:.env"
[aliases]
db = "plain"
cloud = "aws"
[cache]
ttl = "90s"
[references]
allow = ["secret", "env", "db"]
[env.production]
default = "big"
[env.production.stores.big]
url = "aws://eu-west-1?prefix=app/"
[env.production.cache]
ttl = "5 m"
"#;

fn placed(text: &str) -> FakeEnvironment {
    Environment::fake().file("keyfob.toml", text)
}

fn parsed(text: &str) -> Result<Project> {
    Project::find(&placed(text).build()).map(|project| project.expect("there is a file"))
}

#[test]
fn where_the_shared_cache_is_and_where_its_key_lies() {
    let text = "[cache]\nredis = \"rediss://me@cache:6379/1\"\nredis_key_file = \"cache.key\"\nredis_ca_file = \"/ca.pem\"\n\
                redis_prefix = \"team-a:x\"\nredis_timeout = \"50ms\"";
    let settings = parsed(text).unwrap().settings(None).unwrap();
    let given: Vec<_> = settings
        .layers
        .iter()
        .map(|given| (given.row.path(), given.value.clone()))
        .collect();
    let path = |path: &str| Value::Path(path.into());
    assert_eq!(
        given,
        [
            ("cache.redis".to_owned(), Value::Url("rediss://me@cache:6379/1".to_owned())),
            ("cache.redis_key_file".to_owned(), path("/home/user/project/cache.key")),
            ("cache.redis_ca_file".to_owned(), path("/ca.pem")),
            ("cache.redis_prefix".to_owned(), Value::Word("team-a:x".to_owned())),
            ("cache.redis_timeout".to_owned(), Value::Time(Duration::from_millis(50))),
        ]
    );
}

#[test]
fn a_whole_file_is_understood() {
    let project = parsed(FULL).unwrap();
    assert_eq!(project.path(), Path::new("/home/user/project/keyfob.toml"));
    assert_eq!(project.environments().collect::<Vec<_>>(), ["production"]);

    let base = project.settings(None).unwrap();
    assert_eq!(base.default, ["team"]);
    assert_eq!(base.stores["team"].to_string(), "sqlite:secrets.db?key-file=~/key");
    assert_eq!(base.stores["team"].base(), Some(Path::new("/home/user/project")));
    assert_eq!(base.aliases["cloud"], "aws");
    assert_eq!(ttl(&base), Some(Value::Time(Duration::from_secs(90))));
    assert_eq!(base.allow.unwrap().into_iter().collect::<Vec<_>>(), ["db", "env", "secret"]);

    let production = project.settings(Some("production")).unwrap();
    assert_eq!(production.default, ["big"]);
    assert_eq!(production.stores.len(), 3, "an environment adds to the stores");
    assert_eq!(ttl(&production), Some(Value::Time(Duration::from_secs(300))));
    assert!(production.allow.is_some(), "what it leaves out holds");
}

#[test]
fn what_is_wrong_says_where_and_what_would_be_right() {
    for (text, error, hint) in [
        (
            "default = \"env\"\nstors = 1",
            "2:1: unknown key `stors`",
            "did you mean `stores`?",
        ),
        (
            "[stores.a]\n url = \"env:\"\n uri = 1",
            "3:2: unknown key `uri`",
            "did you mean `url`?",
        ),
        (
            "[env.production.env]",
            "1:17: unknown key `env`",
            "known are: `default`, `stores`, `aliases`, `references`, `cache`, `retry`, `limit`, `failover`, `audit`, `rotation`, `snapshots`, `watch`",
        ),
        (
            "[cache.names]\n\"a\" = { ttl = \"2m\", max_age = \"1m\" }",
            "2:1: `max_age` (60s) is shorter than `ttl` (120s)",
            "",
        ),
        (
            "[retry]\nbudget_per_second = -1",
            "2:21: `budget_per_second` is not a number that is not negative",
            "",
        ),
        ("[env.x.cach]", "1:8: unknown key `cach`", "did you mean `cache`?"),
        ("default = 1", "1:11: `default` is a string, and this is of type integer", ""),
        ("stores = 1", "1:10: `stores` is a table, and this is of type integer", ""),
        ("stores.a = \"x:\"", "1:12: `a` is a table, and this is of type string", ""),
        ("[stores.a]", "1:9: the store `a` has no `url`", ""),
        (
            "[stores.A]",
            "1:9: `A` can't be the name of a store",
            "a name is lower-case letters, digits, `-` and `_`, beginning with a letter",
        ),
        (
            "[stores.secret]",
            "1:9: `secret` has a meaning of its own in references",
            "choose another name",
        ),
        (
            "[aliases]\naws = \"env\"",
            "2:1: `aws` has a meaning of its own in references",
            "choose another name",
        ),
        (
            "[aliases]\nx = \"y\"",
            "2:5: there is no store or provider `y`",
            "known are: `",
        ),
        (
            "default = \"tema\"\n[stores.team]\nurl=\"env:\"",
            "1:11: there is no store, alias or provider `tema`",
            "did you mean `team`?",
        ),
        (
            "[env.p]\ndefault = \"dotenw\"",
            "2:11: there is no store, alias or provider `dotenw`",
            "did you mean `dotenv`?",
        ),
        (
            "[references]\nallow = \"secret\"",
            "2:9: `allow` is an array of schemes, and this is of type string",
            "",
        ),
        (
            "[references]\nallow = [\"secrets\"]",
            "2:10: there is no scheme `secrets`",
            "did you mean `secret`?",
        ),
        (
            "[cache]\nttl = 300",
            "2:7: `ttl` is a number and its unit, `ms`, `s`, `m`, `h` or `d`, for example \"5m\", and this is of type integer",
            "",
        ),
        (
            "[cache]\nttl = \"5 parsecs\"",
            "2:7: `ttl` is not a number and its unit, `ms`, `s`, `m`, `h` or `d`, for example \"5m\"",
            "",
        ),
        ("[cache]\nttl = \"99999999999999999999d\"", "2:7: `ttl` is not a number", ""),
        (
            "[cache]\nredis = \"redis://me:canary@cache:6379\"",
            "2:9: `redis` is not a URL without a password, which goes into `SECRET_CACHE_REDIS_PASSWORD`",
            "",
        ),
        (
            "[cache]\nredis = \"redis+unix:///run/x?pass=canary\"",
            "2:9: `redis` is not a URL",
            "",
        ),
        ("[cache]\nredis = \"cache\"", "2:9: `redis` is not a URL", ""),
        ("[cache]\nredis = 1", "2:9: `redis` is a URL without a password", ""),
        (
            "[cache.names]\n\"a*b\" = { ttl = \"0s\" }",
            "2:1: a `*` stands only at the end",
            "",
        ),
        ("[cache]\nredis_prefix = \"a b\"", "2:16: `redis_prefix` is not a word", ""),
        (
            "[stores.a]\nurl = \"postgres://u:canary@h/db\"",
            "2:7: `postgres://u:***@h/db` holds a secret, and `keyfob.toml` must hold none",
            "name a file instead",
        ),
        (
            "[stores.a]\nurl = \"sqlite:x?key=canary\"",
            "2:7: `sqlite:x?key=***` holds a secret",
            "name a file instead",
        ),
        (
            "[stores.a]\nurl = \"postgres://u:canary@h:x/db\"",
            "2:7: invalid store URL: its port is not a number",
            "a store URL is like",
        ),
        (
            "[stores.a]\nurl = \"sqlitee:x\"",
            "2:7: there is no provider `sqlitee`",
            "did you mean `sqlite`?",
        ),
        ("a = 1\nb", "2:2: key with no value", ""),
        ("default = \"env\"\ndefault = \"env\"", "2:1: duplicate key", ""),
    ] {
        let found = parsed(text).and_then(|project| project.settings(None)).unwrap_err();
        let expected = format!("/home/user/project/keyfob.toml:{error}");
        assert!(found.to_string().starts_with(&expected), "{text}: {found}");
        assert!(found.hint().unwrap_or_default().starts_with(hint), "{text}: {found:?}");
        assert_eq!(found.kind(), ErrorKind::InvalidConfig);
        assert!(!format!("{found:?}").contains("canary"));
        assert_eq!(found.to_string().lines().count(), 1, "{found}");
    }
}

#[test]
fn an_unknown_environment_is_met_with_the_nearest_one() {
    let error = parsed(FULL).unwrap().settings(Some("prodution")).unwrap_err();
    assert_eq!(error.hint(), Some("did you mean `production`?"));
    let error = parsed("").unwrap().settings(Some("x")).unwrap_err();
    assert_eq!(error.hint(), Some("add a table `[env.x]`"));
}

#[test]
fn a_default_may_be_a_store_that_only_an_environment_has() {
    let project = parsed("default = \"main\"\n[env.a.stores.main]\nurl = \"env:\"").unwrap();
    assert!(project.settings(Some("a")).is_ok());
    assert!(
        project
            .settings(None)
            .unwrap_err()
            .to_string()
            .contains("there is no store, alias or provider `main`")
    );
}

#[test]
fn the_walk_stops_at_the_repository_and_at_home() {
    let find = |fake: FakeEnvironment| Project::find(&fake.build()).unwrap().map(|project| project.path().to_owned());
    let deep = || {
        Environment::fake()
            .current_dir("/home/user/a/b/c")
            .file("/home/user/a/b/c/x", "")
    };
    let above = |path: &str| deep().file(path, "");
    assert_eq!(find(deep()), None);
    assert_eq!(
        find(above("/home/user/a/keyfob.toml")).unwrap(),
        Path::new("/home/user/a/keyfob.toml")
    );
    assert_eq!(
        find(above("/home/user/keyfob.toml")).unwrap(),
        Path::new("/home/user/keyfob.toml")
    );
    assert_eq!(find(above("/home/keyfob.toml")), None, "above home");
    assert_eq!(
        find(above("/home/user/a/keyfob.toml").file("/home/user/a/b/.git/HEAD", "")),
        None,
        "above the repository"
    );
    assert_eq!(
        find(above("/home/user/a/keyfob.toml").file("/home/user/a/b/.git", "gitdir: x")),
        None,
        "a worktree's `.git` is a file"
    );
    let beside = above("/home/user/a/b/keyfob.toml").file("/home/user/a/b/.git/HEAD", "");
    assert!(find(beside).is_some(), "the repository's root itself counts");
    assert!(
        find(above("/srv/keyfob.toml").current_dir("/srv/app")).is_some(),
        "outside home it goes to the top"
    );
}

#[test]
fn a_variable_names_the_file_or_none() {
    let fake = || placed("default = \"env\"").file("/etc/other.toml", "default = \"dotenv\"");
    let default = |env: Environment| {
        Project::find(&env)
            .unwrap()
            .map(|project| project.settings(None).unwrap().default.concat())
    };
    assert_eq!(default(fake().build()).as_deref(), Some("env"));
    assert_eq!(
        default(fake().var("KEYFOB_CONFIG", "/etc/other.toml").build()).as_deref(),
        Some("dotenv")
    );
    assert_eq!(default(fake().var("KEYFOB_CONFIG", "none").build()), None);
    let error = Project::find(&fake().var("KEYFOB_CONFIG", "missing.toml").build()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("variable `KEYFOB_CONFIG`"), "{error}");
}

#[test]
fn a_file_of_another_user_is_not_believed() {
    let own = |owner: u32, mode: u32| {
        Environment::fake()
            .file_of("keyfob.toml", "default = \"env\"", owner, mode)
            .build()
    };
    assert!(Project::find(&own(1000, 0o644)).is_ok());
    assert!(Project::find(&own(0, 0o444)).is_ok(), "root's is");
    let error = Project::find(&own(1001, 0o644)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`/home/user/project/keyfob.toml` is not believed: `/home/user/project/keyfob.toml` belongs to another user (user id 1001)"
    );
    assert!(error.hint().unwrap().contains("KEYFOB_CONFIG=none"));
    for mode in [0o620, 0o602, 0o666, 0o777] {
        let error = Project::find(&own(1000, mode)).unwrap_err();
        assert!(
            error.to_string().contains(&format!(
                "others may write `/home/user/project/keyfob.toml` (mode {mode:04o})"
            )),
            "{error}"
        );
    }
}

/// A directory on the real file system with a believable project in it.
struct Real {
    top: TempDir,
}

impl Real {
    fn new() -> Self {
        let real = Self {
            top: tempfile::tempdir().unwrap(),
        };
        real.write("project/keyfob.toml");
        real
    }

    fn path(&self, below: &str) -> PathBuf {
        self.top.path().canonicalize().unwrap().join(below)
    }

    fn write(&self, below: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        fs::write(&path, "default = \"env\"").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }

    fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), Permissions::from_mode(mode)).unwrap();
    }

    fn find(&self, below: &str) -> Result<Option<Project>> {
        Project::find(
            &Environment::fake()
                .host_files()
                .home(self.path(""))
                .current_dir(self.path(below))
                .build(),
        )
    }

    fn assert_believed(&self) {
        assert!(self.find("project").unwrap().is_some());
    }

    fn assert_not_believed(&self, why: &str) {
        let error = self.find("project").unwrap_err();
        assert!(error.to_string().contains("is not believed"), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_file_or_directory_that_others_may_write_is_not_believed() {
    let real = Real::new();
    real.assert_believed();
    real.mode("project/keyfob.toml", 0o664);
    real.assert_not_believed("others may write");
    real.mode("project/keyfob.toml", 0o644);
    for mode in [0o775, 0o757, 0o777, 0o1777] {
        real.mode("project", mode);
        real.assert_not_believed("others may write its directory");
    }
    real.mode("project", 0o755);
    real.assert_believed();
}

#[test]
fn in_a_shared_directory_a_project_is_believed_only_where_nobody_can_swap_it() {
    let real = Real::new();
    real.mode("", 0o777);
    real.assert_not_believed("others may write its directory");
    real.mode("", 0o1777);
    real.assert_believed();
}

#[test]
fn through_a_link_the_real_file_and_its_directories_count() {
    let real = Real::new();
    real.write("elsewhere/real.toml");
    fs::remove_file(real.path("project/keyfob.toml")).unwrap();
    symlink("../elsewhere/real.toml", real.path("project/keyfob.toml")).unwrap();
    real.assert_believed();
    let found = real.find("project").unwrap().unwrap();
    assert_eq!(found.path(), real.path("project/keyfob.toml"));

    real.mode("elsewhere", 0o777);
    real.assert_not_believed("others may write its directory");
    real.mode("elsewhere", 0o755);
    real.mode("elsewhere/real.toml", 0o666);
    real.assert_not_believed("others may write");
    real.mode("elsewhere/real.toml", 0o644);
    // The directory of the link counts too: who can write it can make the link lead elsewhere.
    real.mode("project", 0o1777);
    real.assert_not_believed("others may write its directory");
}

#[test]
fn every_link_on_the_way_counts() {
    let real = Real::new();
    real.write("elsewhere/real.toml");
    fs::create_dir(real.path("shared")).unwrap();
    symlink(real.path("elsewhere"), real.path("shared/dir")).unwrap();
    fs::remove_file(real.path("project/keyfob.toml")).unwrap();
    symlink(real.path("shared/dir/real.toml"), real.path("project/keyfob.toml")).unwrap();
    real.mode("shared", 0o755);
    real.assert_believed();
    real.mode("shared", 0o777);
    real.assert_not_believed("others may write its directory");
}

#[test]
fn what_is_no_file_is_not_believed() {
    let real = Real::new();
    let file = real.path("project/keyfob.toml");
    fs::remove_file(&file).unwrap();
    symlink("keyfob.toml", &file).unwrap();
    real.assert_not_believed("circle");
    fs::remove_file(&file).unwrap();
    symlink("missing", &file).unwrap();
    assert_eq!(
        real.find("project").unwrap_err().kind(),
        ErrorKind::NotFound,
        "a link that leads nowhere is not passed over"
    );
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    real.assert_not_believed("it is a directory");
}

/// Root gives the file or directory away for real. Anybody else can't, and looks at it as another user instead.
#[test]
fn what_really_belongs_to_another_user_is_not_believed() {
    let stranger = 54_321;
    for below in ["project/keyfob.toml", "project", ""] {
        let real = Real::new();
        real.assert_believed();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(real.path(below), Some(stranger), None).unwrap();
            real.assert_not_believed("belongs to another user (user id 54321)");
        } else {
            let env = Environment::fake()
                .host_files()
                .user(stranger)
                .current_dir(real.path("project"));
            let error = Project::find(&env.build()).unwrap_err();
            assert!(error.to_string().contains("belongs to another user"), "{error}");
        }
    }
}

#[test]
fn relative_stores_stand_beside_the_real_file() {
    let real = Real::new();
    fs::write(real.path("project/keyfob.toml"), "[stores.a]\nurl = \"dotenv:a.env\"").unwrap();
    let project = real.find("project").unwrap().unwrap();
    let env = Environment::fake().build();
    let path = project.settings(None).unwrap().stores["a"].file_path(&env).unwrap().unwrap();
    assert_eq!(path, real.path("project/a.env"));
}

proptest! {
    #[test]
    fn any_text_is_a_project_or_an_error_of_one_line(text in "[a-z.\\[\\]=\"# \\n]{0,60}|\\PC{0,60}") {
        let project = Project::parse(&text, "/p/keyfob.toml");
        if let Err(error) = project.and_then(|project| project.settings(None)) {
            prop_assert_eq!(error.to_string().lines().count(), 1, "{}", error);
        }
    }
}
