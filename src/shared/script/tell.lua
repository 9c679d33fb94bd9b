-- One change of a standing. KEYS: standings, the number of the last change.
-- ARGV: field, milliseconds from now that it holds (-1: for good), then what is kept as it is.
-- What has ended is forgotten when there is much of it: names of models come from callers.
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local left = tonumber(ARGV[2])
local ends = left < 0 and '-1' or string.format('%.0f', ms + left)
local number = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], number .. ' ' .. ends .. ' ' .. ARGV[3])
if redis.call('HLEN', KEYS[1]) > 4096 then
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    local over = tonumber(string.match(fields[i + 1], '^%d+ (-?%d+)'))
    if over >= 0 and over < ms then redis.call('HDEL', KEYS[1], fields[i]) end
  end
end
return number
