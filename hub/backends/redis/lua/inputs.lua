-- Shared by publish.lua and others: the inputs of a generation (core/inputs.py), in these fields of a
-- record's hash.
--   input <key>   '<expires at, in ms> <newest attempt that asks for it> <request, JSON>'
--   answer <key>  '<time in ms> <digest of the request, or ->\n<name of the event>\n<its data>'
--   open_inputs   how many inputs of the newest attempt have no answer
--   keep_until    the time (ms) until which an input may be answered; the record lives until then
--   beside        the keys that live as long as the record, one a line (create_generation.lua)
--   suspended     the key of the input for which no attempt runs: the newest one has ended
--   suspensions   how many attempts have ended so
-- The suspended answers of a user in the partition are in the sorted set '...:suspended:<user>': id by
-- the time (ms) until which its record is kept.
-- Invariant: an input has one request and at most one answer. The first of each is kept.

local function id_of(record_key)
  return string.match(record_key, '[^:]+$')
end

local function suspended_set(record_key)
  local user = redis.call('HGET', record_key, 'user') or ''
  return string.match(record_key, '^(.*:)generation:') .. 'suspended:' .. user
end

-- Returns whether another answer of the user may be suspended; max is negative without a limit.
local function may_suspend(set, record_key, max)
  redis.call('ZREMRANGEBYSCORE', set, '-inf', now_ms())
  redis.call('ZREM', set, id_of(record_key))
  return max < 0 or redis.call('ZCARD', set) < max
end

local function forget_suspended(record_key)
  redis.call('ZREM', suspended_set(record_key), id_of(record_key))
end

-- Asks for an input with an update of this attempt. Returns until when the record is kept (ms), and
-- the answer if there is one.
local function ask_input(record_key, open_key, input, attempt, ttl_ms)
  local field = 'input ' .. input.key
  local answer = redis.call('HGET', record_key, 'answer ' .. input.key)
  local record = redis.call('HMGET', record_key, field, 'status', 'keep_until', 'beside')
  local expires_ms, last_attempt, request
  if record[1] then
    expires_ms, last_attempt, request = string.match(record[1], '^(%d+) (%d+) (.*)$')
  else
    expires_ms, last_attempt, request = input.expires_ms, '', input.text
  end
  if last_attempt ~= attempt then
    redis.call('HSET', record_key, field, expires_ms .. ' ' .. attempt .. ' ' .. request)
    if not answer then
      redis.call('HINCRBY', record_key, 'open_inputs', 1)
    end
  end
  local max_suspended = tonumber(string.match(input.action, '^suspend (%-?%d+)$'))
  local suspended_key = suspended_set(record_key)
  local suspends = max_suspended and (answer or may_suspend(suspended_key, record_key, max_suspended))
  local status = answer and (suspends and 'queued') or (not answer and (suspends and 'suspended' or 'waiting'))
  if status and record[2] ~= 'stopping' then
    redis.call('HSET', record_key, 'status', status)
  end
  if suspends then
    redis.call('HSET', record_key, 'suspended', input.key)
    redis.call('HINCRBY', record_key, 'suspensions', 1)
    redis.call('HDEL', record_key, 'lease')
  end
  local until_ms = math.max(tonumber(record[3] or 0), tonumber(expires_ms))
  if not answer then
    redis.call('HSET', record_key, 'keep_until', string.format('%d', until_ms))
    local kept_ms = math.max(0, until_ms - now_ms()) + tonumber(ttl_ms)
    extend_ttl(open_key, kept_ms)
    if suspends then
      redis.call('ZADD', suspended_key, now_ms() + kept_ms, id_of(record_key))
      extend_ttl(suspended_key, kept_ms)
    end
    for key in string.gmatch(record[4] or '', '[^\n]+') do
      extend_ttl(key, kept_ms)
    end
  end
  return until_ms, answer
end

-- Answers an input with an event. Returns the outcome of a refusal, or nil.
local function answer_input(record_key, input, status, attempt, name, data)
  local fields = {'input ' .. input.key, 'answer ' .. input.key, 'suspended'}
  local record = redis.call('HMGET', record_key, unpack(fields))
  if not record[1] then
    return 'stale'
  elseif record[2] then
    return 'duplicate'
  end
  local expires_ms, last_attempt = string.match(record[1], '^(%d+) (%d+) ')
  local now = now_ms()
  if input.action == 'receive' and now >= tonumber(expires_ms) then
    return 'expired'
  end
  local about = string.format('%d', now) .. ' ' .. (input.text ~= '' and input.text or '-')
  redis.call('HSET', record_key, fields[2], about .. '\n' .. name .. '\n' .. data)
  redis.call('HINCRBY', record_key, 'received', 1) -- see steering.lua
  local left = last_attempt == attempt and redis.call('HINCRBY', record_key, 'open_inputs', -1)
  if status == 'waiting' and left and left <= 0 then
    redis.call('HSET', record_key, 'status', 'running')
  elseif status == 'suspended' and record[3] == input.key and input.action == 'receive' then
    redis.call('HSET', record_key, 'status', 'queued')
    forget_suspended(record_key)
  end
  return nil
end
