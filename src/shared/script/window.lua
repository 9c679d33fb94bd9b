-- Before `admit.lua` and `settle.lua`: the time, and what a key has used. A hash holds that by slot, `r<slot>` requests
-- and `t<slot>` tokens, and is gone when nothing of it counts. A rolling window has slots of `grain` seconds, of which the
-- last `count` count; a day is one slot of a key that is named after it, has no grain, and is over at `ends`.
local time = redis.call('TIME')
local now = tonumber(time[1])
local ms = now * 1000 + math.floor(tonumber(time[2]) / 1000)

-- The three numbers at `at` of ARGV.
local function ruler(at)
  return {grain = tonumber(ARGV[at]), count = tonumber(ARGV[at + 1]), ends = tonumber(ARGV[at + 2])}
end

local function slot(ruler, second)
  if ruler.grain == 0 then return 0 end
  return math.floor(second / ruler.grain)
end

local function counts(ruler, number)
  return ruler.grain == 0 or number + ruler.count > slot(ruler, now)
end

local function window(key, ruler)
  local used, old = {r = 0, t = 0}, {}
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if counts(ruler, tonumber(string.sub(fields[i], 2))) then
      local kind = string.sub(fields[i], 1, 1)
      used[kind] = used[kind] + tonumber(fields[i + 1])
    else
      old[#old + 1] = fields[i]
    end
  end
  if #old > 0 then redis.call('HDEL', key, unpack(old)) end
  return used, fields
end

local function charge(key, ruler, second, requests, tokens)
  local number = slot(ruler, second)
  local function add(field, amount)
    if amount < 0 then amount = math.max(amount, -tonumber(redis.call('HGET', key, field) or 0)) end
    if amount ~= 0 then redis.call('HINCRBY', key, field, string.format('%.0f', amount)) end
  end
  if not counts(ruler, number) then return end
  add('r' .. string.format('%.0f', number), requests)
  add('t' .. string.format('%.0f', number), tokens)
  if ruler.grain == 0 then
    -- An hour later no router's clock is still at that day.
    redis.call('EXPIREAT', key, ruler.ends + 3600)
  else
    redis.call('EXPIRE', key, (ruler.count + 1) * ruler.grain)
  end
end

