-- A sign of life, and what is new since the last one.
-- KEYS: routers, standings, the number of the last change, since when the store remembers.
-- ARGV: router, last change that it knows, milliseconds that a router may be silent; leave instead if that is 0.
-- Returns {ms, since when, routers, last change, [field, value]...}.
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('SET', KEYS[4], string.format('%.0f', ms), 'NX')
if ARGV[3] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ms, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - tonumber(ARGV[3]))
end
local known, last = tonumber(ARGV[2]), tonumber(redis.call('GET', KEYS[3]) or 0)
if last < known then known = 0 end
local changes = {}
if last > known then
  local fields = redis.call('HGETALL', KEYS[2])
  for i = 1, #fields, 2 do
    if tonumber(string.match(fields[i + 1], '^%d+')) > known then
      changes[#changes + 1] = fields[i]
      changes[#changes + 1] = fields[i + 1]
    end
  end
end
return {string.format('%.0f', ms), redis.call('GET', KEYS[4]), redis.call('ZCARD', KEYS[1]), last, changes}
