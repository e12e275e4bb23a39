-- Reads a page of a user's inbox, the newest items first.
-- KEYS  1 head  2 log of the user's channel  3 state  4 items  5 settings of the inbox
-- ARGV  1 run id  2 PUBLISH or SPUBLISH  3 new epoch  4 ttl of a head in ms  5 retention of the channel
--       6 limits of the inbox  7 id before which the page begins, as XREVRANGE takes it ('+' for the
--       newest)  8 max items  9 category, or '' for all  10 '1' for unread items only
--       11 '' for all items, '1' for archived ones only, '0' for others only  12 ttl of settings in ms
-- Reply {unread, unseen, epoch, offset of the channel's head, {field, value, ...} of the settings, id,
--        flags, fields, data, id, ...}
-- Invariant: the counts are those at the position. Items that have expired are removed first, with an
-- event.
local now = now_ms()
local log = {run_id = ARGV[1], new_epoch = ARGV[3], head_ttl_ms = ARGV[4], now = now, now_text = string.format('%013d', now)}
local inboxes = load_inboxes(ARGV[6])
local inbox = inboxes.open_inbox_of(KEYS[1], KEYS[4])
inboxes.announce_expired(inbox, log, KEYS[1], KEYS[2], ARGV[2], ARGV[5])
local head = read_head(KEYS[1], KEYS[2], ARGV[1], ARGV[3], ARGV[4])
redis.call('PEXPIRE', KEYS[5], ARGV[12])
local reply = {inbox.unread, inbox.unseen, head.epoch, head.offset, redis.call('HGETALL', KEYS[5])}
local left, from = tonumber(ARGV[8]), ARGV[7]
while left > 0 do
  local entries = redis.call('XREVRANGE', KEYS[4], from, '-', 'COUNT', left)
  for _, entry in ipairs(entries) do
    local id, fields = entry[1], entry[2]
    local flags = inboxes.flags_of(inbox, id)
    local archived = string.find(flags, 'a') and '1' or '0'
    if (ARGV[9] == '' or select(3, inboxes.item_options(entry)) == ARGV[9])
      and (ARGV[10] == '' or inboxes.counts_unread(flags) == 1)
      and (ARGV[11] == '' or archived == ARGV[11]) then
      left = left - 1
      for _, value in ipairs({id, flags, inboxes.publisher_fields(entry), fields[4]}) do
        reply[#reply + 1] = value
      end
    end
    from = '(' .. id
  end
  if #entries == 0 then
    break
  end
end
return reply
