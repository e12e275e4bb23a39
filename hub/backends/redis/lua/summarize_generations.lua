-- Returns what lists show of generations of one partition.
-- KEYS  records
-- ARGV  1 run id  2 '1' for those of one chat  3 the chat  4 a status, or ''
-- Reply for each record {status, attempt, deltas, time of the request, summary, end or ''}; '' for one
--       that does not exist, '-' for one of another chat or status
local reply = {}
for n, key in ipairs(KEYS) do
  local record = redis.call('HMGET', key, 'status', 'attempt', 'deltas', 'requested_at', 'summary', 'end', 'chat')
  if not record[1] then
    reply[n] = ''
  elseif (ARGV[2] == '' or record[7] == ARGV[3]) and (ARGV[4] == '' or record[1] == ARGV[4]) then
    reply[n] = {record[1], record[2], record[3], record[4], record[5] or '{}', record[6] or ''}
  else
    reply[n] = '-'
  end
end
return reply
