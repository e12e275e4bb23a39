-- Changes items of a user's inbox.
-- KEYS  1 head  2 log of the user's channel  3 state  4 items of the inbox
-- ARGV  1 run id  2 PUBLISH or SPUBLISH  3 new epoch  4 ttl of a head in ms  5 retention of the channel
--       6 limits of the inbox  7 read, unread, seen, archive, unarchive or delete  8 'items' (then ids),
--       'up_to' (then the id of the newest item, or '' for none) or 'category' (then its name)
-- Reply {unread, unseen, epoch, offset of the channel's head, ids of the items that changed ...}
-- Invariant: an event inbox.changed is appended if an item changed, else none.
local now = now_ms()
local retention = parse_retention(ARGV[5])
local log = {run_id = ARGV[1], new_epoch = ARGV[3], head_ttl_ms = ARGV[4], now = now, now_text = string.format('%013d', now)}
local inbox = open_inbox(KEYS[3], KEYS[4], ARGV[6])
announce_expired(inbox, log, KEYS[1], KEYS[2], ARGV[2], retention)

local entries = {}
if ARGV[8] == 'items' then
  local seen = {}
  for n = 9, #ARGV do
    local entry = not seen[ARGV[n]] and redis.call('XRANGE', KEYS[4], ARGV[n], ARGV[n])[1]
    seen[ARGV[n]] = true
    entries[#entries + 1] = entry or nil
  end
elseif ARGV[8] == 'up_to' then
  entries = redis.call('XRANGE', KEYS[4], '-', ARGV[9])
else
  for _, entry in ipairs(redis.call('XRANGE', KEYS[4], '-', '+')) do
    if entry[2][6] == ARGV[9] then
      entries[#entries + 1] = entry
    end
  end
end

local changed = {}
for _, entry in ipairs(entries) do
  if change_item(inbox, entry, ARGV[7]) then
    changed[#changed + 1] = entry[1]
  end
end
if changed[1] then
  save_inbox(inbox, now)
  local data = change_event(inbox, changed, ARGV[7])
  local epoch, offset = append(log, KEYS[1], KEYS[2], 'inbox.changed', data, retention)
  notify(ARGV[2], KEYS[2], epoch, offset, '', 'inbox.changed', data)
end
local head = read_head(KEYS[1], KEYS[2], ARGV[1], ARGV[3], ARGV[4])
return {inbox.unread, inbox.unseen, head.epoch, head.offset, unpack(changed)}
