-- A page of one channel's log, and its head.
-- KEYS  1 head  2 log
-- ARGV  1 run  2 fresh epoch  3 head's life in ms  4 log's life in ms
--       5 where from: 'head' (read nothing), 'start' (all there is), 'after' (a position)
--       6 epoch  7 offset  8 most events  9 most bytes (the last event may go beyond)
-- Reply {epoch, head's offset, lost ('' | 'epoch' | 'trimmed'), offset read to,
--        offset, name, data, offset, name, data ...}
-- Invariants
-- 1. Either every event after the position, in order, up to where the page ends; or `lost`.
-- 2. An event past its own life is skipped, not lost: its offset counts as read.
local head = head_of(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[3])

local after = 0
if ARGV[5] == 'head' then
  return {head.epoch, head.offset, '', head.offset}
elseif ARGV[5] == 'after' then
  after = tonumber(ARGV[7])
  if not is_known(head, ARGV[6], after) then
    return {head.epoch, head.offset, 'epoch', head.offset}
  end
end
if after == head.offset then
  return {head.epoch, head.offset, '', head.offset}
end

local now = now_ms()
if head.first_ms and now - head.first_ms > ARGV[4] * 9 / 8 then
  trim(KEYS[1], KEYS[2], head, now, math.huge, tonumber(ARGV[4]))
end

local reply = {head.epoch, head.offset, '', head.offset}
local events_left, bytes_left = tonumber(ARGV[8]), tonumber(ARGV[9])
local from, first = string.format('%d-0', after + 1), true
while events_left > 0 and bytes_left > 0 do
  local count = math.min(events_left, 50)
  local entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', count)
  for _, entry in ipairs(entries) do
    local offset, fields = tonumber(string.match(entry[1], '^%d+')), entry[2]
    if first and ARGV[5] == 'after' and offset ~= after + 1 then
      return {head.epoch, head.offset, 'trimmed', head.offset}
    end
    first = false
    local expires = fields[8]
    if not expires or tonumber(expires) > now then
      reply[#reply + 1] = offset
      reply[#reply + 1] = fields[2]
      reply[#reply + 1] = fields[4]
      bytes_left = bytes_left - #fields[4]
    end
    reply[4] = offset
    from = string.format('%d-0', offset + 1)
    if bytes_left <= 0 then
      break
    end
  end
  events_left = events_left - #entries
  if #entries < count then
    break
  end
end
if first then
  if ARGV[5] == 'after' then
    reply[3] = 'trimmed'
  end
  reply[4] = head.offset
end
return reply
