-- A page of one channel's log, and its head.
-- KEYS  1 head  2 log
-- ARGV  1 fresh epoch  2 head's life in ms
--       3 where from: 'head' (read nothing), 'start' (all there is), 'after' (a position)
--       4 epoch  5 offset  6 most events
-- Reply {epoch, head's offset, lost ('' | 'epoch' | 'trimmed'), offset read to,
--        offset, name, data, offset, name, data ...}
-- Invariants
-- 1. Either every event after the position, in order, up to where the page ends; or `lost`.
-- 2. An event past its own life is skipped, not lost: its offset counts as read.
local epoch, newest = head_of(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])

local after = 0
if ARGV[3] == 'head' then
  return {epoch, newest, '', newest}
elseif ARGV[3] == 'after' then
  after = tonumber(ARGV[5])
  if ARGV[4] ~= epoch or after > newest then
    return {epoch, newest, 'epoch', newest}
  end
end
if after == newest then
  return {epoch, newest, '', newest}
end

local entries = redis.call('XRANGE', KEYS[2], string.format('(%d-0', after), '+',
  'COUNT', ARGV[6])
local reply = {epoch, newest, '', newest}
local now = nil
for n, entry in ipairs(entries) do
  local offset = tonumber(string.match(entry[1], '^%d+'))
  if n == 1 and ARGV[3] == 'after' and offset ~= after + 1 then
    return {epoch, newest, 'trimmed', newest}
  end
  local fields = entry[2]
  local expires = fields[6]
  if expires and not now then
    now = now_ms()
  end
  if not expires or tonumber(expires) > now then
    reply[#reply + 1] = offset
    reply[#reply + 1] = fields[2]
    reply[#reply + 1] = fields[4]
  end
  reply[4] = offset
end
if #entries == 0 then
  if ARGV[3] == 'after' then
    reply[3] = 'trimmed'
  end
  reply[4] = newest
end
return reply
