-- Before `admit.lua` and `settle.lua`: the time, and the last minute of a key as 61 slots of a second. A hash holds them,
-- `r<second>` requests and `t<second>` tokens, and is gone when nothing of it counts.
local time = redis.call('TIME')
local now = tonumber(time[1])
local ms = now * 1000 + math.floor(tonumber(time[2]) / 1000)

local function window(key)
  local used, old = {r = 0, t = 0}, {}
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if tonumber(string.sub(fields[i], 2)) + 61 > now then
      local kind = string.sub(fields[i], 1, 1)
      used[kind] = used[kind] + tonumber(fields[i + 1])
    else
      old[#old + 1] = fields[i]
    end
  end
  if #old > 0 then redis.call('HDEL', key, unpack(old)) end
  return used, fields
end

local function charge(key, second, requests, tokens)
  local function add(field, amount)
    if amount < 0 then amount = math.max(amount, -tonumber(redis.call('HGET', key, field) or 0)) end
    if amount ~= 0 then redis.call('HINCRBY', key, field, string.format('%.0f', amount)) end
  end
  if second + 61 <= now then return end
  add('r' .. second, requests)
  add('t' .. second, tokens)
  redis.call('EXPIRE', key, 62)
end
