-- Shared by several scripts: the head of a channel, a hash.
--   o   'offset bytes': the offset of the newest event, and the total bytes of all events that were
--       ever in the log. Every event changes it.
--   h   'epoch history check_ms check_bytes': the epoch; the history in which it was written last (see
--       current_history); the time (ms) and the total bytes from which on a publish must refresh the
--       ttls and trim the log (see maintain in append.lua). Most events change nothing of it.
--   p   the older epochs that this one continues, newest first: 'epoch:offset epoch:offset ...'
--   ft  lower bound of the time at which the oldest event in the log was published (ms)
--   fb  lower bound of the bytes of all events before it: the log holds at most bytes - fb bytes
--   i   state of the channel's inbox, if it has one (inbox.lua)
-- Few fields, because each one that is read or written costs the broker time.
-- A channel that has never had an event has no head. Its position is offset 0 of the blank epoch of
-- its partition, which all such channels share, so that reading them creates no keys. The key
-- '<hash tag>:blank' is a hash:
--   e   blank epoch
--   r   history in which it began
--   p   this epoch and the older ones whose positions are accepted, newest first, each with the time
--       at which it began: 'epoch@ms epoch@ms ...'
-- Invariants
-- 1. A channel without a head begins a new epoch with an empty log, because the offsets of the
--    entries of an older epoch mean something else. The new epoch continues the blank epochs.
-- 2. Offsets are 1, 2, 3 ... without a gap. An epoch that continues another one goes on counting.
-- 3. A head that was written in another history begins a new epoch. It continues the old epoch up to
--    the offset that was found. Events that this server does not have (after the promotion of a
--    replica or the restoration of a backup) are not part of it, so a cursor that has seen more is
--    not continued silently.
-- 4. A blank epoch is accepted for at most the ttl of a head. A head lives longer than that after its
--    last event, so a blank position never stands for a channel whose head has expired since. A
--    channel whose head was erased has a blank epoch of its own for this time.

-- Returns the time in ms. It stands still while a script runs.
local now
local function now_ms()
  if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return now
end

-- Returns what identifies the history of the server's data: its replication id, which is a new one
-- after each start and each promotion. The run id of the process would not be enough: a primary that
-- was demoted, lost its last writes and was promoted again is the same process. The id is read in the
-- same atomic step as the write, or at most 100 ms before it (server_history.py), because connections
-- may outlive both changes. A server that does not report a replication id is identified by the run id
-- that the client has read. known: the first argument of the script, '<run id>' or
-- '<history> <from> <until> <run id>'.
local history
local function current_history(known)
  if not history and #known > 44 then
    local ms = string.format('%013d', now_ms())
    if ms >= string.sub(known, 18, 30) and ms <= string.sub(known, 32, 44) then
      history = string.sub(known, 1, 16)
    end
    known = string.sub(known, 46)
  end
  if not history then
    local info = redis.pcall('INFO', 'replication')
    -- A plain search, because a pattern would be tried at each of some 600 characters.
    local _, last = string.find(type(info) == 'string' and info or '', 'master_replid:', 1, true)
    history = last and string.sub(info, last + 1, last + 16) or known
  end
  return history
end

-- Lets a key live for at least ttl_ms more.
local function extend_ttl(key, ttl_ms)
  redis.call('PEXPIRE', key, ttl_ms, 'NX')
  redis.call('PEXPIRE', key, ttl_ms, 'GT')
end

-- Returns the key of the blank epoch of a channel that was erased (erase_log.lua), a string. It has a
-- digest, because the name of a channel can be that of a user.
local function erased_key(head_key)
  local digest = redis.sha1hex or tostring -- fakeredis has no sha1hex
  return string.match(head_key, '^[^}]*}') .. ':erased:' .. digest(head_key)
end

-- Returns the blank epoch of the partition, and all accepted ones as epochs that a head continues.
local function read_blank(head_key, run_id, new_epoch, ttl_ms)
  local erased = redis.call('GET', erased_key(head_key))
  if erased then
    return erased, erased .. ':0 '
  end
  local key = string.match(head_key, '^[^}]*}') .. ':blank'
  local fields, now, ttl = redis.call('HMGET', key, 'e', 'r', 'p'), now_ms(), tonumber(ttl_ms)
  local epoch, accepted, older, started_at = fields[1], '', '', 0
  for blank, ms in string.gmatch(fields[3] or '', '(%w+)@(%d+) ') do
    ms = tonumber(ms)
    if now - ms < ttl then
      started_at = math.max(started_at, ms)
      accepted = accepted .. blank .. '@' .. string.format('%d', ms) .. ' '
      older = older .. blank .. ':0 '
    end
  end
  if not epoch or fields[2] ~= run_id or now - started_at >= ttl / 8 then
    epoch = string.reverse(new_epoch) -- a head that is created in this call gets new_epoch
    accepted = string.sub(epoch .. '@' .. string.format('%d', now) .. ' ' .. accepted, 1, 320)
    older = string.sub(epoch .. ':0 ' .. older, 1, 200)
    redis.call('HSET', key, 'e', epoch, 'r', run_id, 'p', accepted)
    redis.call('PEXPIRE', key, ttl_ms)
  end
  return epoch, older
end

local NEVER_CHECKED = '0000000000000' -- check_ms has 13 digits, so that it is compared as a text

-- Returns the head of a channel: its offset as a number, everything else as texts. A channel without one gets it only if `creates` is true.
-- older: the older epochs, if this call has read them. inbox: the field i, or false, if `reads_inbox` is true.
local function read_head(key, log, run_id, new_epoch, ttl_ms, creates, reads_inbox)
  local fields = reads_inbox and redis.call('HMGET', key, 'h', 'o', 'i') or redis.call('HMGET', key, 'h', 'o')
  local history = current_history(run_id)
  if not fields[1] then
    local head = {offset = 0, bytes = '0', check_ms = NEVER_CHECKED, check_bytes = '0', inbox = fields[3]}
    head.epoch, head.older = read_blank(key, history, new_epoch, ttl_ms)
    if creates then
      redis.call('DEL', log)
      redis.call('HSET', key, 'h', new_epoch .. ' ' .. history .. ' ' .. NEVER_CHECKED .. ' 0', 'o', '0 0', 'p', head.older)
      redis.call('PEXPIRE', key, ttl_ms)
      head.epoch = new_epoch
    end
    return head
  end
  local epoch, written_in, check_ms, check_bytes = string.match(fields[1], '^(%w+) (%w*) (%d+) (%d+)$')
  local offset, bytes = string.match(fields[2], '^(%d+) (%d+)$')
  local head = {
    epoch = epoch, offset = tonumber(offset), bytes = bytes, check_ms = check_ms, check_bytes = check_bytes,
    inbox = fields[3]
  }
  if written_in ~= history then
    local older = epoch .. ':' .. offset .. ' ' .. (redis.call('HGET', key, 'p') or '')
    head.epoch, head.older, head.check_ms = new_epoch, string.sub(older, 1, 200), NEVER_CHECKED
    redis.call('HSET', key, 'h', new_epoch .. ' ' .. history .. ' ' .. NEVER_CHECKED .. ' 0', 'p', head.older)
  end
  return head
end

-- Returns whether a position belongs to this epoch or to one that it continues.
local function is_known(key, head, epoch, offset)
  if epoch == head.epoch then
    return offset <= head.offset
  end
  for older, last in string.gmatch(head.older or redis.call('HGET', key, 'p') or '', '(%w+):(%d+) ') do
    if older == epoch then
      return offset <= tonumber(last)
    end
  end
  return false
end

-- Drops the oldest events until the log holds at most max_bytes and no event is older than
-- max_age_ms. The newest event always stays. The id of an entry is '<offset>-<ms>', and its field b
-- is the number of bytes before it, like fb. Returns ft and fb, or nil if nothing was trimmed.
local function trim(key, log, head, now, max_bytes, max_age_ms)
  local from = '-'
  while true do
    local entries = redis.call('XRANGE', log, from, '+', 'COUNT', 16)
    for _, entry in ipairs(entries) do
      local id, before = entry[1], tonumber(entry[2][6])
      local offset, ms = string.match(id, '^(%d+)-(%d+)$')
      if tonumber(offset) >= head.offset
        or (head.bytes - before <= max_bytes and now - tonumber(ms) <= max_age_ms) then
        redis.call('XTRIM', log, 'MINID', id)
        redis.call('HSET', key, 'ft', ms, 'fb', before)
        return tonumber(ms), before
      end
      from = '(' .. id
    end
    if #entries == 0 then
      return
    end
  end
end
