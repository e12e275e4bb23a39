-- Publishes events one after the other: checks the idempotency key, checks and updates the
-- generation, assigns the offset, appends to the log, notifies the subscribers. One call takes many
-- events, so that their common arguments are sent once.
-- ARGV  1 run id, and history (channel_head.lua)  2 PUBLISH or SPUBLISH
--       3 what all events share, as one text, because each argument costs the broker time: 'inbox|epoch
--       head_ttl key_ttl record_ttl|user|topic|all': limits of an inbox, 'max_items max_stored_items
--       ttl_ms'; new epoch; ttl of a head, of an idempotency key and of an ended record in ms; retention
--       of a user's channel, of a topic and of `all`, each 'events bytes ttl_ms'
--       then for each event: flags, name, data, and the arguments that the flags require
--       flags: u, t or a (user's channel, topic, all), then any of
--         e  ephemeral
--         k  has an idempotency key: one more key; one more argument, the digest of the event
--         y  with k, remembers the key for another time than the others: one more argument, in ms
--         x  has its own ttl: one more argument, in ms
--         s  updates a generation: three more keys: the record, the parts and the open
--            generations of the partition; seven more arguments:
--            begin, delta, replace, store, compact, restart, input or end; attempt; status; index of the
--            part;
--            entries of the journal of the parts; writer; length of the journal, or ''
--            an update of the kind store or compact has no event: nothing is published
--         l  with s, for an external producer (lease.lua): four more arguments: the progress that the
--            record must have; the progress after it; length of the lease in ms, or '' for an update
--            of the hub's own, which needs no lease; notes, or '' if they stay as they are
--         i  with s, for an input (inputs.lua): four more arguments: 'ask', or 'suspend <max suspended
--            answers of the user, negative without a limit>', with the update of the producer, or,
--            with the kind input, 'receive' or 'expire'; the key; the request (JSON), or
--            the digest of the one that is answered; the time in ms until which it may be answered
--         d  has deliveries (deliveries.lua): one more argument, their number; then for each: one more
--            key, that of its queue; six more arguments: the limits of the queue; the channel; the
--            lane; the id; the delay in ms; the body
--         b  is kept in the inbox of the channel too (inbox.lua): one more key: items of the inbox; one
--            more argument: m of the item
--         c  has a trace (without spaces, dashes and line ends), which follows the position in the
--            notification: one more argument
-- KEYS  for each event: head, log (also the name of the pub/sub channel), then those of the flags
-- Reply a line 'outcome epoch offset received item stop_requested_by' for each event. A refused event has no
--       epoch. received: with l how much users have sent to the producer (steering.lua), otherwise 0.
--       item: with b the id of the item, otherwise ''.
--       One text, because each entry of a table costs the broker more than its line.
-- The value of an idempotency key is 'epoch offset digest' of the event that was published with it.
-- Invariants
-- 1. Nothing of an event is written unless every check passed. A refused event affects no other.
-- 2. An event that is repeated with its idempotency key, or with the index of its delta, writes
--    nothing. Another event with the same key is a conflict and writes nothing.
-- 3. An answer that waits for others of its chat (create_generation.lua) begins when they have ended.
--    A generation ends once, and only its newest attempt and that attempt's writer write.
--    Nothing is written behind a hole: an index above the number of deltas is refused.
--    Of an external producer, only the holder of a lease that has not ended writes, and every part
--    is published once: see rule 1 of core/external_producer.py.
--    An input is answered once. An event that asks for an input which has an answer is followed by the
--    event of the answer, for the readers for whom everything before has become void.
-- 4. The event of a user's item, inbox.item, follows the event that is kept; before it comes the event
--    of the items that were removed for it. All of them are one entry of the log (log_entries.lua).
-- 5. See append.lua for what a log holds, and how long it lives.

local log = {run_id = ARGV[1], new_epoch = new_epoch, head_ttl_ms = head_ttl_ms}
if plain_time then -- one time and one history for all events of a call
  log.now, log.now_text = tonumber(plain_time), plain_time
  history = plain_history ~= '' and string.sub(plain_history, 2, -2) or nil
end
local function next_key()
  key = key + 1
  return KEYS[key]
end
local function next_arg()
  arg = arg + 1
  return ARGV[arg]
end

local function reply(outcome, epoch, offset, stop_requested_by, received, item)
  return outcome .. ' ' .. epoch .. ' ' .. offset .. ' ' .. (received or '0') .. ' ' .. (item or '') .. ' '
    .. (stop_requested_by or '')
end

-- The letters of each text of flags, as a table.
local letters = {}
local function letters_of(flags)
  if not letters[flags] then
    letters[flags] = {}
    for letter in string.gmatch(flags, '.') do
      letters[flags][letter] = true
    end
  end
  return letters[flags]
end

local function publish()
  local head_key, log_key = next_key(), next_key()
  local flags, name, data, stop_requested_by = next_arg(), next_arg(), next_arg(), ''
  local kind = string.sub(flags, 1, 1)
  local retention = kind == 'u' and user_retention or kind == 't' and topic_retention or all_retention
  local ephemeral, idempotency_key, digest, event_ttl_ms, update, external, input, answer
  local trace, remembered_ms, deliveries, items_key, meta = '', key_ttl_ms
  if flags == 'ub' then -- by far the most frequent ones with letters, which cost more to read than the item
    items_key, meta = next_key(), next_arg()
  elseif #flags > 1 then
    local has = letters_of(flags)
    ephemeral = has.e
    if has.k then
      idempotency_key, digest = next_key(), next_arg()
    end
    if has.y then
      remembered_ms = next_arg()
    end
    event_ttl_ms = has.x and next_arg()
    if has.s then
      update = {next_key(), next_key(), next_key(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg()}
    end
    if has.l then
      external = {after = next_arg(), progress = next_arg(), lease_ms = next_arg(), notes = next_arg()}
    end
    if has.i then
      input = {action = next_arg(), key = next_arg(), text = next_arg(), expires_ms = next_arg()}
    end
    if has.d then
      deliveries = {}
      for n = 1, tonumber(next_arg()) do
        deliveries[n] = {next_key(), ARGV[1], next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg()}
      end
    end
    if has.b then
      items_key, meta = next_key(), next_arg()
    end
    if has.c then
      trace = ' ' .. next_arg()
    end
  end
  if idempotency_key then
    local before = redis.call('GET', idempotency_key)
    if before then
      local epoch, offset, before_digest = string.match(before, '^(%w*) (%d+) (%w+)$')
      if before_digest ~= digest then
        return reply('conflict', '', '0')
      end
      -- A write, so that a caller who waits for replicas waits for the first publish too.
      redis.call('PEXPIRE', idempotency_key, redis.call('PTTL', idempotency_key))
      return reply('duplicate', epoch, offset)
    end
  end
  if update then
    local refusal
    refusal, stop_requested_by, answer = update_generation(name, data, external, input, unpack(update))
    if refusal then
      return reply(refusal, '', '0', stop_requested_by)
    end
    if update[4] == 'store' or update[4] == 'compact' then
      return reply('written', '', '0', stop_requested_by, external and count_received(update[1]))
    end
  end
  local item, item_events = nil, 0
  if items_key then
    local head = open_head(log, head_key, log_key, true)
    if head.inbox == nil then -- an event without an item came before in this call
      head.inbox = redis.call('HGET', head_key, 'i')
    end
    item = prepare_item(log, head.inbox, items_key, meta)
    if item and kind == 'u' then
      item_events = item.removal and 2 or 1
    end
  end
  local epoch, offset, item_epoch, last = '', '0', nil, nil
  if not ephemeral then
    epoch, offset, last = append(log, head_key, log_key, name, data, retention, event_ttl_ms, item, item_events)
    item_epoch = epoch
    if log.head.older then
      trace = ' ~' .. continued_epochs(log.head, offset) .. trace
      log.head.older = nil
    end
  elseif item_events > 0 then
    item_epoch, offset, last = append(log, head_key, log_key, '', data, retention, nil, item, item_events)
    offset = '0'
  elseif item then
    redis.call('HSET', head_key, 'i', item.state)
    log.head.inbox = item.state
  end
  if item then
    store_item(item, data, epoch, offset)
  end
  if idempotency_key then
    redis.call('SET', idempotency_key, epoch .. ' ' .. offset .. ' ' .. digest, 'PX', remembered_ms)
  end
  if deliveries then
    for _, delivery in ipairs(deliveries) do
      delivery[9] = ephemeral and '' or epoch .. ' ' .. offset
      add_delivery(unpack(delivery))
    end
  end
  local following
  if answer then
    local answer_name, answer_data = string.match(answer, '^[^\n]*\n([^\n]*)\n(.*)$')
    local next_epoch, next_offset = append(log, head_key, log_key, answer_name, answer_data, retention)
    following = notification(next_epoch, next_offset, '', answer_name, answer_data)
  end
  if item_events > 0 then
    trace, name = item_lines(trace, name, item, item_epoch, last)
    if item.removal then
      following = notification(item_epoch, string.format('%d', tonumber(last) - 1), '', 'inbox.changed', item.removal, following)
    end
  end
  notify(ARGV[2], log_key, epoch, offset, trace, name, data, following)
  return reply('written', epoch, offset, stop_requested_by, external and count_received(update[1]), item and item.id)
end

while arg < #ARGV do
  replies[#replies + 1] = publish()
  publish_plain()
  log.head_key = nil -- publish_plain may have changed the head
end
return table.concat(replies, '\n')
