-- Reads one page of each channel's log (log_entries.lua), and the heads.
-- KEYS  for each channel: head, log
-- ARGV  1 run id  2 new epoch  3 ttl of a head in ms  4 max events of a page  5 max bytes of a page
--       (the last event may exceed it)
--       then for each channel: ttl of the log in ms; origin: 'head' (read nothing), 'start' (read
--       everything) or 'after' (a position); epoch and offset of the position
-- Reply for each channel {epoch, offset of the head, reset reason ('' | 'epoch' | 'trimmed'), offset
--        of the page's end, offset, name, data, offset, name, data ...}
-- Invariants
-- 1. A page holds every event after the position, in order, up to its end; or it has a reset reason.
-- 2. An event whose ttl has passed is skipped and is not a reset: its offset counts as read.
local function page(head_key, log_key, log_ttl_ms, origin, epoch, offset)
  local head = read_head(head_key, log_key, ARGV[1], ARGV[2], ARGV[3])
  redis.call('PEXPIRE', head_key, ARGV[3])

  local after = 0
  if origin == 'head' then
    return {head.epoch, head.offset, '', head.offset}
  elseif origin == 'after' then
    after = tonumber(offset)
    if not is_known(head_key, head, epoch, after) then
      return {head.epoch, head.offset, 'epoch', head.offset}
    end
  end
  if after == head.offset then
    return {head.epoch, head.offset, '', head.offset}
  end

  local now = now_ms()
  local first_ms = redis.call('HGET', head_key, 'ft')
  if first_ms and now - first_ms > log_ttl_ms * 9 / 8 then
    trim(head_key, log_key, head, now, math.huge, tonumber(log_ttl_ms))
  end

  local reply = {head.epoch, head.offset, '', head.offset}
  local events_left, bytes_left = tonumber(ARGV[4]), tonumber(ARGV[5])
  local from, first = string.format('%d-0', after + 1), true
  while events_left > 0 and bytes_left > 0 do
    local count = math.min(events_left, 50)
    local entries = redis.call('XRANGE', log_key, from, '+', 'COUNT', count)
    for _, entry in ipairs(entries) do
      local last, events = tonumber(string.match(entry[1], '^%d+')), entry_events(entry[2], now)
      local offset = last - #events / 2
      if first and origin == 'after' and offset > after then
        return {head.epoch, head.offset, 'trimmed', head.offset}
      end
      first = false
      for n = 1, #events, 2 do
        offset = offset + 1
        if offset > after and events_left > 0 and bytes_left > 0 then
          if events[n] then
            reply[#reply + 1] = offset
            reply[#reply + 1] = events[n]
            reply[#reply + 1] = events[n + 1]
            bytes_left = bytes_left - #events[n + 1]
          end
          reply[4] = offset
          events_left = events_left - 1
        end
      end
      from = string.format('%d-0', last + 1)
    end
    if #entries < count then
      break
    end
  end
  if first then
    if origin == 'after' then
      reply[3] = 'trimmed'
    end
    reply[4] = head.offset
  end
  return reply
end

local pages = {}
for n = 1, #KEYS / 2 do
  local arg = 2 + 4 * n
  pages[n] = page(KEYS[2 * n - 1], KEYS[2 * n], unpack(ARGV, arg, arg + 3))
end
return pages
