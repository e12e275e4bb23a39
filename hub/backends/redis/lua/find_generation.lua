-- A generation's record and its text so far, as they are at one moment; with the keys of its user's
-- channel also where that stands: every event of the generation up to there is in the text.
-- KEYS  1 record  2 text  and, or not,  3 the channel's head  4 its log
-- ARGV  1 run  2 fresh epoch  3 head's life in ms
-- Reply {text, epoch, offset, field, value, field, value ...}, or {} when there is no such record
local record = redis.call('HGETALL', KEYS[1])
if #record == 0 then
  return record
end
local head = {epoch = '', offset = 0}
if KEYS[3] then
  head = head_of(KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
end
return {redis.call('GET', KEYS[2]) or '', head.epoch, head.offset, unpack(record)}
