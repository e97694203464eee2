-- A batch is read: who the organization is, its reservations, counters, plans, and the documents that they were made of.
-- KEYS: m v h r p x u o z, then the hours of ended ids, the hashes of windows, the rolling counters.

local META, REVS, STOPS, OPEN, PLANS, LEASES, RECORDS, EVENTS, WINDOWS = 1, 2, 3, 4, 5, 6, 7, 8, 9
local FILLER, FILLING = '\255', string.rep(' ', 65) -- what makes a hash a table at once: short lists are searched
local HOUR_MS, REMEMBER_MS, DUE = 3600000, 172800000, 32
local known, seen, candidate, clock, slack = t[1], t[2], t[3], t[4], t[5]
local oldest, hours, windows, rolling, ids, plans, ops, asked = t[6], t[7], t[8], t[9], t[10], t[11], t[12], t[13]
local hours_at = 13                               -- where the numbers of ids by hour begin
local at = hours_at                               -- what of `t` was read

local function many_get(key, fields, first, last) -- HMGET of as many fields as there are
    if last - first < CHUNK then return call('HMGET', key, unpack(fields, first, last)) end
    local all = {}
    for from = first, last, CHUNK do
        local some = call('HMGET', key, unpack(fields, from, math.min(last, from + CHUNK - 1)))
        for s = 1, #some do all[#all + 1] = some[s] end
    end
    return all
end

local function send(command, key, args)           -- a write of as many arguments as there are
    for from = 1, #args, CHUNK do call(command, key, unpack(args, from, math.min(#args, from + CHUNK - 1))) end
end

-- Who this is, and whether it is what the caller knows

local meta = call('HMGET', KEYS[META], 'epoch', 'seq', 'now', 'rev', 'closed', 'booked', 'count')
local epoch, seq = meta[1] or '', tonumber(meta[2] or 0)
if known ~= '' and (epoch ~= known or seq < seen) then return pack('<cd', 'l', seq) .. epoch end
now = clock
if clock == 0 then
    local time = call('TIME')
    now = time[1] * 1000 + floor(time[2] / 1000)
end
now = math.max(now, tonumber(meta[3] or 0))
rev, closed, horizon = tonumber(meta[4] or 0), tonumber(meta[5] or 0), now - REMEMBER_MS

-- Reservations: what is open and what has ended, by number of the id

local open, is_stored, ended, has_ended, lease = {}, {}, {}, {}, {}
local first_id = at + hours                       -- id number i is t[first_id + i]
local from = first_id
if ids > 0 then
    local values = many_get(KEYS[OPEN], t, from + 1, from + ids)
    for i = 1, ids do
        if values[i] then open[i], is_stored[i] = values[i], true end
    end
end
for hour = 1, hours do
    local count, missing = t[at + hour], false
    for i = from - first_id + 1, from - first_id + count do missing = missing or not open[i] end
    if missing then
        local values = many_get(KEYS[WINDOWS + hour], t, from + 1, from + count)
        for v = 1, count do ended[from - first_id + v] = values[v] or nil end
    end
    from = from + count
end
at = first_id + ids

-- Counters

local window_at = {}                              -- where each window's fields begin in t
local is_new = {}                                 -- windows of which nothing was there
for w = 1, windows do
    local count = t[at + 2]
    local fields, numbers, key = at + 2, at + 2 + count, KEYS[WINDOWS + hours + w]
    local values = many_get(key, t, fields + 1, fields + count)
    window_at[w], is_new[w] = at, true
    for f = 1, count do
        local c, value = t[numbers + f], values[f]
        names[c] = t[fields + f]
        if value then
            load_fixed(c, value)
            is_new[w] = false
        end
    end
    at = numbers + count
end
local first_rolling = WINDOWS + hours + windows
local spans, rolling_at = {}, at
for from = 1, rolling, CHUNK do
    local upto = math.min(rolling, from + CHUNK - 1)
    local values = call('MGET', unpack(KEYS, first_rolling + from, first_rolling + upto))
    for v = 1, #values do
        local c = t[rolling_at + from + v - 1]
        names[c] = sub(KEYS[first_rolling + from + v - 1], #KEYS[META] + 2)
        if values[v] then load_rolling(c, values[v]) end
    end
end
at = rolling_at + rolling

-- Plans: where in t the counters and the lines (what of a call it counts, kind, cap) begin, and what is special in some

local by_digest, digests, blobs, plan_rev, since, till, deps = {}, {}, {}, {}, {}, {}, {}
local sizes, cells_at, lines_at, special = {}, {}, {}, {}
for p = 1, plans do
    local digest, size, cells = t[at + 1], t[at + 7], t[at + 8]
    by_digest[digest], digests[p], blobs[p] = p, digest, t[at + 2]
    plan_rev[p], since[p], till[p], deps[p] = t[at + 3], t[at + 4], t[at + 5], t[at + 6]
    sizes[p], cells_at[p] = size, at + 8
    at = at + 8 + cells
    lines_at[p] = at
    at = at + 3 * size + 1
    local count = t[at]
    if count > 0 then
        local by_line = {}
        for m = at + 1, at + count do
            local more = t[m]
            if more.carry then more.carry = t[cells_at[p] + more.carry] end
            if more.span then spans[t[cells_at[p] + more.line]] = more.span end
            by_line[more.line] = more
        end
        special[p] = by_line
        at = at + count
    end
end

-- Documents that changed since a plan was made

local function read_revs(which)
    if #which > 0 then
        local values = many_get(KEYS[REVS], which, 1, #which)
        for d = 1, #which do touched[which[d]] = values[d] and tonumber(values[d]) end
    end
end

local function unread(p, into)
    if type(deps[p]) == 'string' then deps[p] = cmsgpack.unpack(deps[p]) end
    for _, dep in ipairs(deps[p]) do
        if touched[dep] == nil then
            touched[dep] = false
            into[#into + 1] = dep
        end
    end
end

local wanted = {}
for p = 1, plans do
    if plan_rev[p] < rev then unread(p, wanted) end
end
read_revs(wanted)

local stale_deps = {}

local function is_stale(number, p)
    if plan_rev[p] >= rev then return false end
    local more = {}
    unread(p, more)
    read_revs(more)
    local stale = false
    for _, dep in ipairs(deps[p]) do
        if (touched[dep] or rev) > plan_rev[p] then      -- a document that is not there is one that went
            stale_deps[#stale_deps + 1] = pack('<II', number, #dep) .. dep
            stale = true
        end
    end
    return stale
end
