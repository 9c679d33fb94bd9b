-- One admission, all or nothing.
-- KEYS: the leases of the credential, its probe, then each limited key.
-- ARGV: id, tokens, most at one time, milliseconds of a lease, milliseconds of a probe (0: it is none), then for each
-- limited key its scope, its requests and its tokens per minute. -1 is no limit.
-- Returns {1, second, ms}, or {0, scope, which, limit, milliseconds to wait}; which: 1 requests, 2 tokens, 3 at one time,
-- 4 probe.
local id, tokens, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local probe = tonumber(ARGV[5])

local function fits(used, amount, limit)
  return limit < 0 or used == 0 or used + amount <= limit
end

local function wait(fields, kind, used, amount, limit)
  local slots = {}
  for i = 1, #fields, 2 do
    local second = tonumber(string.sub(fields[i], 2))
    if string.sub(fields[i], 1, 1) == kind and second + 61 > now then
      slots[#slots + 1] = {second, tonumber(fields[i + 1])}
    end
  end
  table.sort(slots, function(a, b) return a[1] < b[1] end)
  for _, slot in ipairs(slots) do
    used = used - slot[2]
    if fits(used, amount, limit) then return (slot[1] + 61) * 1000 - ms end
  end
  return 1000
end

if most >= 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms)
  if redis.call('ZCARD', KEYS[1]) >= most then return {0, 1, 3, most, 1000} end
end
for i = 3, #KEYS do
  local at = 6 + (i - 3) * 3
  local scope, rpm, tpm = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local used, fields = window(KEYS[i])
  if not fits(used.r, 1, rpm) then return {0, scope, 1, rpm, wait(fields, 'r', used.r, 1, rpm)} end
  if not fits(used.t, tokens, tpm) then return {0, scope, 2, tpm, wait(fields, 't', used.t, tokens, tpm)} end
end
if probe > 0 and not redis.call('SET', KEYS[2], id, 'NX', 'PX', probe) then return {0, 0, 4, 0, 1000} end
if most >= 0 then
  redis.call('ZADD', KEYS[1], ms + tonumber(ARGV[4]), id)
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[4]) * 2)
end
for i = 3, #KEYS do charge(KEYS[i], now, 1, tokens) end
return {1, now, ms}
