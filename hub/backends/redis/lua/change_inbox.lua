-- Changes items of a user's inbox.
-- KEYS  1 head  2 log of the user's channel  3 state  4 items  5 settings of the inbox  6 due deliveries
--       of the queue `push`  7 due deliveries of the queue `webhook`
-- ARGV  1 run id  2 PUBLISH or SPUBLISH  3 new epoch  4 ttl of a head in ms  5 retention of the channel
--       6 limits of the inbox  7 read, unread, seen, archive, unarchive or delete  8 ttl of settings in ms
--       9 number of states of shared items, then for each: source, text before, text after
--       then the number of shared items that are different then, and their ids; the number of their
--       deliveries to cancel, and their ids; the limits of the queue `webhook`; the user's
--       channel; the number of deliveries to add if an item changes, and for each: lane, id, delay in
--       ms, body, which ends with '[]}}', where the ids of the items belong; at last 'items' (then
--       ids), 'up_to' (then the id of the newest item) or 'category' (then its name)
-- Reply {unread, unseen, epoch, offset of the channel's head, ids of the items that changed ...}, or an
--       empty table if a state is not what it was
-- Invariants
-- 1. An event inbox.changed is appended, and the deliveries are added, if an item changed, else none.
-- 2. Either all of it happens, or nothing.
local arg = 8
local function next_arg()
  arg = arg + 1
  return ARGV[arg]
end
local function next_list()
  local list = {}
  for n = 1, tonumber(next_arg()) do
    list[n] = next_arg()
  end
  return list
end

local states = {}
for n = 1, tonumber(next_arg()) do
  local source, before, after = 's ' .. next_arg(), next_arg(), next_arg()
  if (redis.call('HGET', KEYS[5], source) or '') ~= before then
    return {}
  end
  states[n] = {source, after}
end
for _, state in ipairs(states) do
  redis.call('HSET', KEYS[5], state[1], state[2])
end
if states[1] then
  redis.call('PEXPIRE', KEYS[5], ARGV[8])
end
local changed, deliveries = next_list(), next_list()
for _, id in ipairs(deliveries) do
  cancel_delivery(KEYS[6], id)
end

local limits, channel, webhooks = next_arg(), next_arg(), {}
for n = 1, tonumber(next_arg()) do
  webhooks[n] = {next_arg(), next_arg(), next_arg(), next_arg()}
end

local now = now_ms()
local retention = ARGV[5]
local log = {run_id = ARGV[1], new_epoch = ARGV[3], head_ttl_ms = ARGV[4], now = now, now_text = string.format('%013d', now)}
local inboxes = load_inboxes(ARGV[6])
local inbox = inboxes.open_inbox_of(KEYS[1], KEYS[4])
inboxes.announce_expired(inbox, log, KEYS[1], KEYS[2], ARGV[2], retention)
local kind = next_arg()

local entries = {}
if kind == 'items' then
  local seen = {}
  for n = arg + 1, #ARGV do
    local entry = not seen[ARGV[n]] and redis.call('XRANGE', KEYS[4], ARGV[n], ARGV[n])[1]
    seen[ARGV[n]] = true
    entries[#entries + 1] = entry or nil
  end
elseif kind == 'up_to' then
  entries = redis.call('XRANGE', KEYS[4], '-', next_arg())
else
  local category = next_arg()
  for _, entry in ipairs(redis.call('XRANGE', KEYS[4], '-', '+')) do
    if select(3, inboxes.item_options(entry)) == category then
      entries[#entries + 1] = entry
    end
  end
end

for _, entry in ipairs(entries) do
  if inboxes.change_item(inbox, entry, ARGV[7]) then
    changed[#changed + 1] = entry[1]
    if ARGV[7] ~= 'unread' and ARGV[7] ~= 'seen' and ARGV[7] ~= 'unarchive' then
      for id in string.gmatch(select(5, inboxes.item_options(entry)), '%S+') do
        cancel_delivery(KEYS[6], id)
      end
    end
  end
end
if changed[1] then
  local data = inboxes.change_event(inbox, changed, ARGV[7])
  local epoch, offset = append(log, KEYS[1], KEYS[2], 'inbox.changed', data, retention)
  inboxes.save_inbox(inbox, KEYS[1])
  notify(ARGV[2], KEYS[2], epoch, offset, '', 'inbox.changed', data)
  local ids = '["' .. table.concat(changed, '","') .. '"]}}'
  for _, webhook in ipairs(webhooks) do
    local lane, id, delay_ms, body = unpack(webhook)
    add_delivery(KEYS[7], ARGV[1], limits, channel, lane, id, delay_ms, string.sub(body, 1, -5) .. ids, '')
  end
end
local head = read_head(KEYS[1], KEYS[2], ARGV[1], ARGV[3], ARGV[4])
return {inbox.unread, inbox.unseen, head.epoch, head.offset, unpack(changed)}
