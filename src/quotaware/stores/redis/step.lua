-- One step over one organization's keys: if it is what the caller knows, and everything that he built on still stands,
-- his commands run, and their replies are answered.
-- KEYS: those that commands name by number, the organization's own (m) and the caller's count of writes (q) first.
-- ARGV: known epoch, known sequence and count of writes, an epoch for an organization that is new ('': it is not made), clock (0: the
-- server's); how many conditions, and each as key, field ('': the key is a string; '?': whether it is there), what stands
-- there; then each command as number of words, key, words but the key.

local call, unpack, floor = redis.call, unpack, math.floor
local META, WRITES, CHUNK, HOUR_MS = KEYS[1], KEYS[2], 4000, 3600000
local known, seen, own, candidate, clock = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local names = { 'epoch', 'seq', 'now', 'rev', 'closed', 'folded', 'former', 'base', 'accepted' }
local meta = call('HMGET', META, unpack(names))
local epoch, seq, writes = meta[1] or '', tonumber(meta[2] or 0), tonumber(call('GET', WRITES) or 0)
if clock == 0 then
    local time = call('TIME')
    clock = time[1] * 1000 + floor(time[2] / 1000)
end
for m = 1, #names do meta[m] = meta[m] or '' end
meta[#names + 1], meta[#names + 2] = string.format('%.0f', clock), string.format('%.0f', writes)
if known ~= '' and (epoch ~= known or seq < seen or writes < own) then return { 'lost', meta } end

local at = 7
for _ = 1, tonumber(ARGV[6]) do
    local key, field, expected, found = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], nil
    if field == '' then
        found = call('GET', key) or ''
    elseif field == '?' then
        found = tostring(call('EXISTS', key))
    else
        found = call('HGET', key, field) or ''
    end
    if found ~= expected then return { 'moved', meta } end
    at = at + 3
end

if candidate ~= '' then
    if epoch == '' then meta[1] = candidate end
    meta[2], meta[#names + 2] = string.format('%.0f', seq + 1), string.format('%.0f', writes + 1)
    call('SET', WRITES, meta[#names + 2], 'PX', HOUR_MS)
    call('HSET', META, 'epoch', meta[1], 'seq', meta[2])
end
local replies = {}
while at <= #ARGV do
    local count, key = tonumber(ARGV[at]), KEYS[tonumber(ARGV[at + 1])]
    local name, first, last = ARGV[at + 2], at + 3, at + 1 + count
    replies[#replies + 1] = call(name, key, unpack(ARGV, first, last))
    at = last + 1
end
return { 'done', meta, replies }
