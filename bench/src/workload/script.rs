//! A hash of buckets an entity in Redis, kept by functions in Lua.
//!
//! A field of the hash is a slot, bucket modulo 61: the 60 buckets that a window takes, and the one that is being
//! filled. Its value is 16 bytes: bucket, count (32 bits each) and sum (a double). A slot that holds another bucket
//! starts anew, so nothing needs to be dropped.

use super::NOW;
use crate::replies::Expect;
use crate::template::{Piece, Template};

/// What FUNCTION LOAD gets.
pub const LIBRARY: &str = r"#!lua name=windrow_bench
local WIDTH_MS, SLOTS = 60000, 61
local function add(keys, args)
  for at = 1, #args, 2 do
    local bucket = math.floor(tonumber(args[at]) / WIDTH_MS)
    local slot, count, sum = bucket % SLOTS, 0, 0
    local held = redis.call('HGET', keys[1], slot)
    if held then
      local of, n, s = struct.unpack('>I4I4d', held)
      if of == bucket then count, sum = n, s end
    end
    redis.call('HSET', keys[1], slot, struct.pack('>I4I4d', bucket, count + 1, sum + tonumber(args[at + 1])))
  end
  redis.call('EXPIRE', keys[1], 3660)
  return redis.status_reply('OK')
end
local function read(keys, args)
  local newest = math.floor(tonumber(args[1]) / WIDTH_MS)
  local count, sum = 0, 0
  for _, held in ipairs(redis.call('HVALS', keys[1])) do
    local of, n, s = struct.unpack('>I4I4d', held)
    if of > newest - SLOTS and of <= newest then count, sum = count + n, sum + s end
  end
  return {count, tostring(sum)}
end
redis.register_function('bench_add', add)
redis.register_function('bench_read', read)
";

/// One event.
pub(super) fn event(template: &mut Template) -> Expect {
    fill(template, &[NOW])
}

/// One read of count and sum.
pub(super) fn read(template: &mut Template) -> Expect {
    template.command(&[
        &[Piece::Text("FCALL")],
        &[Piece::Text("bench_read")],
        &[Piece::Text("1")],
        &[Piece::NextKey],
        &[NOW],
    ]);
    Expect::kind(b"*")
}

/// Gives an entity an event at each of these times.
pub(super) fn fill(template: &mut Template, times: &[Piece<'_>]) -> Expect {
    let mut args: Vec<&[Piece<'_>]> =
        vec![&[Piece::Text("FCALL")], &[Piece::Text("bench_add")], &[Piece::Text("1")], &[Piece::NextKey]];
    for time in times {
        args.extend([std::slice::from_ref(time), &[Piece::Amount][..]]);
    }
    template.command(&args);
    Expect::ok()
}
