-- What has become of a lease, or of a router's own use in an outage.
-- KEYS: as in `admit.lua`. ARGV: id, 1 if the lease is over, the ruler of each limit, then triples of a second (a small
-- number: so far from now), and how many requests and tokens more it has seen. Nothing goes below zero.
for i = 3 + (#KEYS - 2) * 3, #ARGV, 3 do
  local second = tonumber(ARGV[i])
  if second < 1000000 then second = now + second end
  for k = 3, #KEYS do
    charge(KEYS[k], ruler((k - 2) * 3), second, tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]))
  end
end
if ARGV[2] == '1' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
end
return 1
