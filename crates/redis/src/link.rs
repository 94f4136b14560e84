//! The connection: who is waited for, for how long, and what happens while Redis is ill.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keyfob_core::Result;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, Value, cmd};
use sha2::Sha256;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::RedisConfig;
use crate::problem::Problem;
use crate::scripts::{self, Keys};

/// Stands for a name of a store wherever the name must not be shown: an HMAC of it.
pub(crate) type Tag = [u8; 32];

/// One Redis, for all stores.
///
/// The first who asks waits for the connection, within the deadline. After anything that goes wrong nobody waits: Redis
/// counts as ill, and a task behind the callers tries, with pauses that grow, until it has connected and everything that the
/// cache does works. It first does away with what was to be forgotten meanwhile.
pub(crate) struct Link {
    client: Client,
    address: Arc<str>,
    prefix: Arc<str>,
    timeout: Duration,
    connect_timeout: Duration,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    phase: Phase,
    /// Counts connections.
    connections: u64,
    since: Instant,
    /// Before the next attempt.
    pause: Duration,
    /// Whether this illness was told of.
    is_told: bool,
    recovery: Option<JoinHandle<()>>,
    /// What is to be forgotten, each numbered.
    lost: HashMap<Tag, u64>,
    last_lost: u64,
    /// Whether there was more to be forgotten than has a place here.
    is_overfull: bool,
}

enum Phase {
    New,
    /// Until then somebody may wait for the first connection.
    Starting(Instant),
    Ready(Open),
    Ill,
}

/// A connection, and the server that it leads to.
#[derive(Clone)]
pub(crate) struct Open {
    number: u64,
    connection: MultiplexedConnection,
    server: Arc<Server>,
}

/// One life of a server. What was kept before a restart, or by another server before a failover, has other keys, so that what
/// came back with a snapshot, or was not replicated in time, is not found.
pub(crate) struct Server {
    prefix: Arc<str>,
    run_id: String,
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Whoever was well for so long has a new illness.
const WELL: Duration = Duration::from_secs(30);
/// What is to be forgotten is remembered of so many names.
const MOST_LOST: usize = 10_000;
/// So many are forgotten in one go.
const LOST_AT_ONCE: usize = 500;

impl Server {
    pub(crate) fn keys(&self, tag: &Tag) -> Keys {
        let mut mac = Hmac::<Sha256>::new_from_slice(tag).unwrap_or_else(|_| unreachable!("a key of HMAC has any length"));
        mac.update(self.run_id.as_bytes());
        let name = HEXLOWER.encode(&mac.finalize().into_bytes()[..16]);
        let entries = format!("{}:cache:1:{{{name}}}", self.prefix);
        Keys {
            generation: format!("{entries}:generation"),
            entries,
        }
    }
}

impl Link {
    pub(crate) fn new(config: &RedisConfig) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            client: config.client()?,
            address: Arc::clone(&config.address),
            prefix: Arc::clone(&config.prefix),
            timeout: config.timeout,
            connect_timeout: config.connect_timeout,
            state: Mutex::new(State {
                phase: Phase::New,
                connections: 0,
                since: Instant::now(),
                pause: Duration::ZERO,
                is_told: false,
                recovery: None,
                lost: HashMap::new(),
                last_lost: 0,
                is_overfull: false,
            }),
            changed: Notify::new(),
        }))
    }

    /// Asks, when there is a connection. `None` when there is none, or when anything goes wrong.
    pub(crate) async fn ask(self: &Arc<Self>, commands: impl FnOnce(&Server) -> Vec<Cmd>) -> Option<Vec<Value>> {
        Handle::try_current().ok()?;
        let deadline = Instant::now() + self.timeout;
        let mut open = self.open(deadline).await?;
        let commands = scripts::pipeline(commands(&open.server));
        if commands.is_empty() {
            return Some(Vec::new());
        }
        let answers = timeout_at(deadline, send(&mut open.connection, &commands)).await;
        match answers.unwrap_or(Err(Problem::Slow)) {
            Ok(values) => Some(values),
            Err(problem) => {
                self.fell_ill(Some(open.number), &problem);
                None
            }
        }
    }

    /// Does what `command` says with the keys of a name, or has the name forgotten as soon as that can be done: also when
    /// nobody waits for it any more.
    pub(crate) async fn forget(self: &Arc<Self>, tag: Tag, command: fn(&Keys) -> Cmd) {
        let number = self.lose(tag);
        let Ok(runtime) = Handle::try_current() else {
            return self.fell_ill_with_losses();
        };
        let link = Arc::clone(self);
        let forgetting = runtime.spawn(async move {
            if link.ask(|server| vec![command(&server.keys(&tag))]).await.is_some() {
                link.found(&[(tag, number)]);
            } else {
                link.fell_ill_with_losses();
            }
        });
        // It does not panic, and when the runtime ends so does everybody who waits.
        let _ = forgetting.await;
    }

    async fn open(self: &Arc<Self>, deadline: Instant) -> Option<Open> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let until = {
                let mut state = self.state();
                match &state.phase {
                    Phase::Ready(open) => return Some(open.clone()),
                    Phase::Ill => {
                        self.recover(&mut state);
                        return None;
                    }
                    Phase::Starting(until) => {
                        let until = *until;
                        self.recover(&mut state);
                        until
                    }
                    Phase::New => {
                        state.phase = Phase::Starting(deadline);
                        self.recover(&mut state);
                        deadline
                    }
                }
            };
            timeout_at(until.min(deadline), changed).await.ok()?;
        }
    }

    /// Remembers that a name is to be forgotten.
    fn lose(&self, tag: Tag) -> u64 {
        let mut state = self.state();
        state.last_lost += 1;
        let number = state.last_lost;
        if state.lost.len() < MOST_LOST || state.lost.contains_key(&tag) {
            state.lost.insert(tag, number);
        } else if !std::mem::replace(&mut state.is_overfull, true) {
            tracing::warn!(
                target: "keyfob",
                redis = &*self.address,
                names = MOST_LOST,
                "more secrets were written than can be forgotten in Redis when it is back; others may read old values until these expire"
            );
        }
        number
    }

    /// What was forgotten, unless it is to be forgotten again.
    fn found(&self, lost: &[(Tag, u64)]) {
        let mut state = self.state();
        for (tag, number) in lost {
            if state.lost.get(tag) == Some(number) {
                state.lost.remove(tag);
            }
        }
        if state.lost.is_empty() {
            state.is_overfull = false;
        }
    }

    /// A name could not be forgotten: a connection that others have made meanwhile does not know of it.
    fn fell_ill_with_losses(self: &Arc<Self>) {
        let is_starting = {
            let mut state = self.state();
            if matches!(state.phase, Phase::Ready(_)) && !state.lost.is_empty() {
                state.phase = Phase::Ill;
                self.recover(&mut state);
            }
            matches!(state.phase, Phase::Starting(_))
        };
        // Said now: whoever wrote may end before the attempt to connect does.
        if is_starting {
            self.fell_ill(None, &Problem::Slow);
        }
    }

    /// From now on nobody waits. `number` is the connection that it showed on.
    fn fell_ill(self: &Arc<Self>, number: Option<u64>, problem: &Problem) {
        let mut state = self.state();
        match &state.phase {
            Phase::Ready(open) if number == Some(open.number) => {
                if state.since.elapsed() >= WELL {
                    state.pause = Duration::ZERO;
                }
            }
            Phase::New | Phase::Starting(_) | Phase::Ill if number.is_none() => {}
            _ => return,
        }
        state.phase = Phase::Ill;
        state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        if !std::mem::replace(&mut state.is_told, true) {
            tracing::warn!(
                target: "keyfob",
                redis = &*self.address,
                %problem,
                "the shared cache in Redis is skipped until it is well again; what is written meanwhile others may read there as it was, while that is fresh"
            );
        }
        self.recover(&mut state);
        self.changed.notify_waiters();
    }

    /// Has somebody try to connect, unless there is.
    fn recover(self: &Arc<Self>, state: &mut State) {
        if state.recovery.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        // Without a runtime, or after its end, the next one to ask begins.
        if let Ok(runtime) = Handle::try_current() {
            state.recovery = Some(runtime.spawn(recover(Arc::downgrade(self))));
        }
    }

    /// Connects, finds out whether everything works, and forgets what is to be forgotten.
    async fn connect(&self) -> Result<(), Problem> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.connect_timeout));
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connected.map_err(|error| Problem::of_error(&error))?;
        let server = Arc::new(self.probe(&mut connection).await?);
        loop {
            let lost: Vec<(Tag, u64)> = {
                let mut state = self.state();
                if state.lost.is_empty() {
                    self.is_well(&mut state, connection, server);
                    return Ok(());
                }
                let lost = state.lost.iter().take(LOST_AT_ONCE);
                lost.map(|(tag, number)| (*tag, *number)).collect()
            };
            let commands = lost.iter().map(|(tag, _)| scripts::forget(&server.keys(tag)));
            send(&mut connection, &scripts::pipeline(commands)).await?;
            self.found(&lost);
        }
    }

    fn is_well(&self, state: &mut State, connection: MultiplexedConnection, server: Arc<Server>) {
        state.connections += 1;
        state.since = Instant::now();
        // Whoever falls ill from now on begins a recovery of his own.
        state.recovery = None;
        state.phase = Phase::Ready(Open {
            number: state.connections,
            connection,
            server,
        });
        if std::mem::replace(&mut state.is_told, false) {
            tracing::info!(target: "keyfob", redis = &*self.address, "the shared cache in Redis is well again");
        }
        self.changed.notify_waiters();
    }

    /// Does once all that the cache does, so that what is not permitted shows now and not at each read.
    async fn probe(&self, connection: &mut MultiplexedConnection) -> Result<Server, Problem> {
        let mut command = cmd("INFO");
        command.arg("server");
        let info = send(connection, &scripts::pipeline([command])).await?;
        let server = Server {
            prefix: Arc::clone(&self.prefix),
            run_id: info.first().and_then(run_id).ok_or(Problem::Identity)?,
        };
        let mut tag = Tag::default();
        getrandom::fill(&mut tag).map_err(|_| Problem::Gone)?;
        let keys = server.keys(&tag);
        let commands = [
            scripts::close(&keys),
            scripts::forget(&keys),
            scripts::find(&keys, "probe", "probe"),
            scripts::keep(&keys, "probe", "probe", 0, b"probe", u64::from(u32::MAX) << 20),
            scripts::forget(&keys),
        ];
        send(connection, &scripts::pipeline(commands)).await?;
        Ok(server)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when there is a connection, or nobody to have it for.
async fn recover(link: Weak<Link>) {
    loop {
        let Some(pause) = link.upgrade().map(|link| link.state().pause) else {
            return;
        };
        tokio::time::sleep(jitter(pause)).await;
        let Some(link) = link.upgrade() else {
            return;
        };
        let connected = timeout(link.connect_timeout, link.connect()).await;
        match connected.unwrap_or(Err(Problem::Slow)) {
            Ok(()) => return,
            Err(problem) => link.fell_ill(None, &problem),
        }
    }
}

/// Sends all, and gives the answers when none of them is an error.
async fn send(connection: &mut MultiplexedConnection, commands: &Pipeline) -> Result<Vec<Value>, Problem> {
    let values = connection.send_packed_commands(commands, 0, commands.len()).await;
    let values = values.map_err(|error| Problem::of_error(&error))?;
    Problem::among(&values).map_or(Ok(values), Err)
}

/// Half of it, and a random part of the other half: those who lost it together don't come back together.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // Without random bytes the pause is as long as it is.
    let share = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + share / 2.0)
}

/// Reads `run_id:…` of the answer to `INFO server`.
fn run_id(info: &Value) -> Option<String> {
    let text = match info {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::VerbatimString { text, .. } => text,
        _ => return None,
    };
    let id = text.lines().find_map(|line| line.strip_prefix("run_id:"))?.trim();
    let is_id = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}
