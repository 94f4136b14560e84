//! What is asked of Redis: each a step that nothing comes in between of.
//!
//! A name has two keys: a hash with an entry for each version, and its generation. The generation is a random word, or `-`
//! while the name is being written. A read learns it, or makes one, before it asks the store, and what the read brings is
//! kept only while the same word is there. It has to be there: whoever takes it away (a write, an eviction, a restart) ends
//! every read under way, and no clock plays a part in that.

use redis::{Cmd, Pipeline, cmd};

/// The keys of one name.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) entries: String,
    pub(crate) generation: String,
}

/// How long a read has to bring its answer, and for how long a name stays closed when nobody opens it, in milliseconds.
/// Longer than the retries of a write may take.
pub(crate) const LEASE_MS: u64 = 60_000;

/// For every version of a name an entry, but no more than so many.
const MOST_VERSIONS: usize = 16;

/// Gives the entry, the generation (or `-`), and the time in milliseconds. Always writes, so that a replica, which may not
/// have heard of a write, is never believed.
const FIND: &str = "\
local entry = redis.call('HGET', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local generation = redis.call('GET', KEYS[2])
if generation ~= '-' then
  generation = generation or ARGV[2]
  redis.call('SET', KEYS[2], generation, 'PX', ARGV[3])
end
return {entry, generation, time[1] * 1000 + math.floor(time[2] / 1000)}";

/// Keeps an entry when the generation is still the same and what is there was not asked for later.
const KEEP: &str = "\
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
local age = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[4]
local left = ARGV[5] - age
if age < 0 or left <= 0 then return 0 end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local asked = tonumber(string.match(known, '^(%d+):'))
  if asked and asked > tonumber(ARGV[4]) then return 0 end
elseif redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4] .. ':' .. ARGV[3])
if redis.call('PTTL', KEYS[1]) < left then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left)) end
return 1";

const CLOSE: &str = "\
redis.call('SET', KEYS[2], '-', 'PX', ARGV[1])
return redis.call('DEL', KEYS[1])";

pub(crate) fn find(keys: &Keys, field: &str, generation: &str) -> Cmd {
    let mut command = script(FIND, keys);
    command.arg(field).arg(generation).arg(LEASE_MS);
    command
}

/// `asked_ms` is the time that [`find`] gave before the store was asked.
pub(crate) fn keep(keys: &Keys, field: &str, generation: &str, asked_ms: u64, sealed: &[u8], lifetime_ms: u64) -> Cmd {
    let mut command = script(KEEP, keys);
    command
        .arg(field)
        .arg(generation)
        .arg(sealed)
        .arg(asked_ms)
        .arg(lifetime_ms)
        .arg(MOST_VERSIONS);
    command
}

pub(crate) fn close(keys: &Keys) -> Cmd {
    let mut command = script(CLOSE, keys);
    command.arg(LEASE_MS);
    command
}

pub(crate) fn forget(keys: &Keys) -> Cmd {
    let mut command = cmd("DEL");
    command.arg(&keys.entries).arg(&keys.generation);
    command
}

pub(crate) fn pipeline(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

fn script(text: &str, keys: &Keys) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(2).arg(&keys.entries).arg(&keys.generation);
    command
}
