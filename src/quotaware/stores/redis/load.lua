-- A batch is read: who the organization is, its reservations, counters, plans, and the documents that they were made of.
-- KEYS: m v h r p x u o z y q, then the hours of ended ids, then the homes of counters:
-- hashes of windows and keys of rolling ones.

local META, REVS, STOPS, OPEN, PLANS, LEASES, RECORDS, EVENTS, WINDOWS, IDLE, WRITES = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
local FILLER, FILLING = '\255', string.rep(' ', 65) -- what makes a hash a table at once: short lists are searched
local HOUR_MS, REMEMBER_MS, DUE, REV_STEP = 3600000, 172800000, 32, 1048576
local known, seen, own, candidate, clock, slack = t[1], t[2], t[3], t[4], t[5], t[6]
local oldest, hours, homes, ids, plans, ops, asked = t[7], t[8], t[9], t[10], t[11], t[12], t[13]
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

local meta = call('HMGET', KEYS[META], 'epoch', 'seq', 'now', 'rev', 'closed', 'booked', 'count', 'base')
local epoch, seq, writes = meta[1] or '', tonumber(meta[2] or 0), tonumber(call('GET', KEYS[WRITES]) or 0)
if known ~= '' and (epoch ~= known or seq < seen or writes < own) then
    return pack('<cdd', 'l', seq, writes) .. epoch
end
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
        local values = many_get(KEYS[WRITES + hour], t, from + 1, from + count)
        for v = 1, count do ended[from - first_id + v] = values[v] or nil end
    end
    from = from + count
end
at = first_id + ids

-- Plans: where their lines begin in t (what of a call it counts, kind, cap), and their counters in `cell_at`; what is
-- special about some lines. Counters are numbered as they are met.

local ROLLING = -2                                -- in place of when a home may be forgotten
local keeps_at = at
local home_fields, home_cells, home_size = {}, {}, {}
for h = 1, homes do home_fields[h], home_cells[h], home_size[h] = {}, {}, 0 end
at = at + homes

local cells, placed, cell_of, cell_at = 0, 0, {}, {}
local by_digest, digests, blobs, plan_rev, since, till, deps = {}, {}, {}, {}, {}, {}, {}
local sizes, cells_at, lines_at, special = {}, {}, {}, {}

local function meet(name, home)                   -- a counter, and in which home it is
    cells = cells + 1
    local size = home_size[home] + 1
    cell_of[name], names[cells] = cells, name
    home_fields[home][size], home_cells[home][size], home_size[home] = name, cells, size
    return cells
end

for p = 1, plans do
    local digest, places, own_homes = t[at + 1], t[at + 8], at + 9
    by_digest[digest], digests[p], blobs[p] = p, digest, t[at + 2]
    plan_rev[p], since[p], till[p], deps[p] = t[at + 3], t[at + 4], t[at + 5], t[at + 6]
    sizes[p], cells_at[p] = t[at + 7], placed
    at = own_homes + t[own_homes]
    for place = at + 1, at + 2 * places, 2 do
        local name = t[place + 1]
        placed = placed + 1
        cell_at[placed] = cell_of[name] or meet(name, t[own_homes + t[place]])
    end
    at = at + 2 * places
    lines_at[p] = at
    at = at + 3 * sizes[p] + 1
    local count = t[at]
    if count > 0 then
        local by_line = {}
        for m = at + 1, at + count do
            local more = t[m]
            if more.carry then more.carry = cell_at[cells_at[p] + more.carry] end
            if more.span then spans[cell_at[cells_at[p] + more.line]] = more.span end
            by_line[more.line] = more
        end
        special[p] = by_line
        at = at + count
    end
end

-- Counters

local first_home = WRITES + hours
local is_new = {}                                 -- homes of which nothing was there
local rolling_keys, rolling_cells = {}, {}
for h = 1, homes do
    local key = KEYS[first_home + h]
    if t[keeps_at + h] == ROLLING then
        rolling_keys[#rolling_keys + 1] = key
        rolling_cells[#rolling_cells + 1] = home_cells[h][1]
    else
        local own, values = home_cells[h], many_get(key, home_fields[h], 1, home_size[h])
        is_new[h] = true
        for f = 1, home_size[h] do
            if values[f] then
                load_fixed(own[f], values[f])
                is_new[h] = false
            end
        end
    end
end
for from = 1, #rolling_keys, CHUNK do
    local values = call('MGET', unpack(rolling_keys, from, math.min(#rolling_keys, from + CHUNK - 1)))
    for v = 1, #values do
        if values[v] then load_rolling(rolling_cells[from + v - 1], values[v]) end
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
local adopted_from = tonumber(meta[8] or -REV_STEP)   -- what was read between this revision and the adoption is lost

local function is_stale(number, p)
    if plan_rev[p] >= rev then return false end
    local more, lost = {}, plan_rev[p] > adopted_from and plan_rev[p] < adopted_from + REV_STEP
    unread(p, more)
    read_revs(more)
    local stale = false
    for _, dep in ipairs(deps[p]) do
        if lost or (touched[dep] or rev) > plan_rev[p] then -- a document that is not there is one that went
            stale_deps[#stale_deps + 1] = pack('<II', number, #dep) .. dep
            stale = true
        end
    end
    return stale
end
