-- Shared by several scripts: the deliveries of one queue in one partition (core/deliveries.py).
-- Needs channel_head.lua. The keys, all named after the first one:
--   <queue>:due          sorted set: the lanes in which deliveries wait, by the time (ms) at which the
--                        first delivery of the lane is due, or at which its lease ends
--   <queue>:lane:<lane>  sorted set: '<bytes>:<id>' of the deliveries of a lane, in their order
--   <queue>:item:<id>    hash: channel, lane, body, bytes, added (ms), due (ms), delay (ms), takes, failures, errors
--                        (one line each: '<Unix seconds> <error>'), position ('<epoch> <offset>'),
--                        and dead (ms) for a dead letter
--   <queue>:dead         sorted set: '<bytes>:<id>' of the dead letters by the time of their end (ms)
--   <queue>:counts       hash: bytes, waiting, dropped, next (number in the lanes), clock (the history in
--                        which the times were set)
-- The limits of a queue come as text: 'max_per_lane max_bytes ttl_ms max_dead dead_ms'.
-- Invariants
-- 1. A lane is in `due` exactly while it has a delivery. Only its first one is taken.
-- 2. `bytes` counts the bodies of all members of lanes and of dead letters. A member names its size, so
--    one whose item has expired is still subtracted. So `dead` lives as long as `counts`, and a lane
--    longer than its items, so that the next delivery of the partition can subtract those that nobody
--    has taken.
-- 3. `takes` counts up with each lease, so that whoever lost a lease cannot record a result.

local function delivery_keys(due_key)
  local base = string.sub(due_key, 1, -4)
  return {due = due_key, counts = base .. 'counts', dead = base .. 'dead', lane = base .. 'lane:',
    item = base .. 'item:'}
end

local function parse_limits(text)
  local lane, bytes, ttl, dead, dead_ms = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  return {lane = tonumber(lane), bytes = tonumber(bytes), ttl = ttl, dead = tonumber(dead),
    dead_ms = dead_ms}
end

local function whole(number)
  return string.format('%d', number)
end

-- Makes every lane due when the times were set by another server.
local function check_clock(keys, run_id, now)
  local first = redis.call('ZRANGE', keys.due, 0, 0)
  if not first[1] then
    return
  end
  local history = current_history(run_id)
  if redis.call('HGET', keys.counts, 'clock') ~= history then
    for _, lane in ipairs(redis.call('ZRANGE', keys.due, 0, -1)) do
      redis.call('ZADD', keys.due, whole(now), lane)
    end
    redis.call('HSET', keys.counts, 'clock', history)
  end
end

-- Makes a lane due when its first delivery is, or removes an empty one. Returns whether it is due now.
local function schedule_lane(keys, lane, now)
  while true do
    local member = redis.call('ZRANGE', keys.lane .. lane, 0, 0)[1]
    if not member then
      redis.call('ZREM', keys.due, lane)
      return false
    end
    local item = redis.call('HMGET', keys.item .. string.match(member, ':(.*)$'), 'due', 'delay')
    if item[1] then
      local due = math.min(tonumber(item[1]), now + tonumber(item[2]))
      redis.call('ZADD', keys.due, whole(due), lane)
      return due <= now
    end
    redis.call('ZREM', keys.lane .. lane, member)
    redis.call('HINCRBY', keys.counts, 'bytes', -tonumber(string.match(member, '^%d+')))
    redis.call('HINCRBY', keys.counts, 'waiting', -1)
  end
end

-- Deletes a dead letter by its member.
local function drop_dead(keys, member)
  redis.call('ZREM', keys.dead, member)
  redis.call('DEL', keys.item .. string.match(member, ':(.*)$'))
  redis.call('HINCRBY', keys.counts, 'bytes', -tonumber(string.match(member, '^%d+')))
end

-- Deletes the dead letters whose time is over.
local function drop_expired(keys, now, dead_ms)
  local oldest = whole(now - tonumber(dead_ms))
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', keys.dead, '-inf', oldest, 'LIMIT', 0, 100)) do
    drop_dead(keys, member)
  end
end

-- Removes the expired deliveries of lanes that nobody has taken anything from.
local function drop_untaken(keys, now, ttl_ms)
  local oldest = whole(now - tonumber(ttl_ms))
  for _, lane in ipairs(redis.call('ZRANGEBYSCORE', keys.due, '-inf', oldest, 'LIMIT', 0, 10)) do
    schedule_lane(keys, lane, now)
  end
end

-- Keeps an item, which is in no lane, as a dead letter.
local function bury(keys, id, bytes, limits, now)
  drop_expired(keys, now, limits.dead_ms)
  redis.call('HSET', keys.item .. id, 'dead', whole(now))
  redis.call('ZADD', keys.dead, whole(now), bytes .. ':' .. id)
  redis.call('PEXPIRE', keys.item .. id, limits.dead_ms)
  extend_ttl(keys.dead, limits.dead_ms)
  extend_ttl(keys.counts, limits.dead_ms)
  if redis.call('ZCARD', keys.dead) > limits.dead then
    drop_dead(keys, redis.call('ZRANGE', keys.dead, 0, 0)[1])
    redis.call('HINCRBY', keys.counts, 'dropped', 1)
  end
end

-- Appends an item to its lane.
local function append_to_lane(keys, lane, id, bytes, limits, due_ms)
  local is_first = redis.call('ZCARD', keys.lane .. lane) == 0
  local number = redis.call('HINCRBY', keys.counts, 'next', 1)
  redis.call('ZADD', keys.lane .. lane, number, bytes .. ':' .. id)
  if is_first then
    redis.call('ZADD', keys.due, due_ms, lane)
  end
  redis.call('HINCRBY', keys.counts, 'waiting', 1)
  redis.call('PEXPIRE', keys.item .. id, limits.ttl)
  for _, key in ipairs({keys.due, keys.counts, keys.dead}) do
    extend_ttl(key, limits.ttl)
  end
  extend_ttl(keys.lane .. lane, whole(3 * limits.ttl + limits.dead_ms)) -- as long as counts may live
end

local function add_error(keys, id, now, text)
  local errors = (redis.call('HGET', keys.item .. id, 'errors') or '') .. whole(now / 1000) .. ' ' .. text .. '\n'
  while #errors > 2048 do
    errors = string.match(errors, '^[^\n]*\n(.*)$')
  end
  redis.call('HSET', keys.item .. id, 'errors', errors)
end

-- Drops the oldest dead letters for a body, if that makes room for it. Returns whether there is room.
local function make_room(keys, size, limits)
  local missing = tonumber(redis.call('HGET', keys.counts, 'bytes') or 0) + size - limits.bytes
  if missing <= 0 then
    return true
  end
  local members = redis.call('ZRANGE', keys.dead, 0, -1)
  for n, member in ipairs(members) do
    missing = missing - tonumber(string.match(member, '^%d+'))
    if missing <= 0 then
      for each = 1, n do
        drop_dead(keys, members[each])
      end
      redis.call('HINCRBY', keys.counts, 'dropped', n)
      return true
    end
  end
  return false
end

-- Adds a delivery to the end of its lane. position: '' or '<epoch> <offset>'.
local function add_delivery(due_key, run_id, limits_text, channel, lane, id, delay_ms, body, position)
  local keys, limits, now = delivery_keys(due_key), parse_limits(limits_text), now_ms()
  if redis.call('HEXISTS', keys.item .. id, 'lane') == 1 then
    return
  end
  check_clock(keys, run_id, now)
  drop_expired(keys, now, limits.dead_ms)
  drop_untaken(keys, now, limits.ttl)
  if not make_room(keys, #body, limits) then
    redis.call('HINCRBY', keys.counts, 'dropped', 1)
    extend_ttl(keys.counts, limits.ttl)
    extend_ttl(keys.dead, limits.ttl)
    return
  end
  local due_ms = whole(now + tonumber(delay_ms))
  redis.call('HINCRBY', keys.counts, 'bytes', #body)
  redis.call('HSET', keys.item .. id, 'channel', channel, 'lane', lane, 'body', body, 'bytes', #body,
    'added', whole(now), 'due', due_ms, 'delay', delay_ms, 'takes', 0, 'failures', 0, 'position', position)
  if redis.call('ZCARD', keys.lane .. lane) >= limits.lane then
    add_error(keys, id, now, 'too many deliveries wait in the lane')
    bury(keys, id, #body, limits, now)
    return
  end
  if redis.call('ZCARD', keys.due) == 0 then
    redis.call('HSET', keys.counts, 'clock', current_history(run_id))
  end
  append_to_lane(keys, lane, id, #body, limits, due_ms)
end

-- Removes a delivery that waits. Returns its size, or nil if there is none; and whether the lane's first
-- delivery is due now because of that.
local function remove_waiting(keys, id, now)
  local item = redis.call('HMGET', keys.item .. id, 'lane', 'bytes', 'dead')
  if not item[1] or item[3] then
    return nil
  end
  local lane, member = item[1], item[2] .. ':' .. id
  local is_first = redis.call('ZRANGE', keys.lane .. lane, 0, 0)[1] == member
  if redis.call('ZREM', keys.lane .. lane, member) == 1 then
    redis.call('HINCRBY', keys.counts, 'waiting', -1)
  end
  return item[2], is_first and schedule_lane(keys, lane, now)
end

-- Deletes a delivery that waits. Returns whether there was one, and what remove_waiting returns.
local function cancel_delivery(due_key, id)
  local keys = delivery_keys(due_key)
  local bytes, is_next_due = remove_waiting(keys, id, now_ms())
  if bytes then
    redis.call('HINCRBY', keys.counts, 'bytes', -bytes)
    redis.call('DEL', keys.item .. id)
  end
  return bytes ~= nil, is_next_due
end

-- Calls a function with the id of each delivery of a channel, and with the member of a dead letter, nil for
-- one that waits. lanes: the beginning of the channel's lanes.
local function each_of_channel(keys, channel, lanes, call)
  for _, lane in ipairs(redis.call('ZRANGE', keys.due, 0, -1)) do
    if string.sub(lane, 1, #lanes) == lanes then
      for _, member in ipairs(redis.call('ZRANGE', keys.lane .. lane, 0, -1)) do
        call(string.match(member, ':(.*)$'))
      end
    end
  end
  for _, member in ipairs(redis.call('ZRANGE', keys.dead, 0, -1)) do
    local id = string.match(member, ':(.*)$')
    if redis.call('HGET', keys.item .. id, 'channel') == channel then
      call(id, member)
    end
  end
end
