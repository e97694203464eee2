-- A batch is decided, step by step, as core/ledger.py does; nothing is written yet.

-- Reservations, as tables: at, hold (3), on_expiry (3), about, plan; what is open as it was read is still packed. A plan
-- is known by its digest; what it says lies apart, for who settles without it.

local AT, HOLD, ON_EXPIRY, ABOUT, PLAN = 1, 1, 4, 8, 9
local OPEN_FORM, OPEN_SIZE = '<dddddddIc16', 76
local foreign = {}                                -- plans of reservations that the batch did not name

local function parse_open(value, blob_of)
    local was = { parse(OPEN_FORM, value) }
    local length, digest = was[8], was[9]
    was[ABOUT] = sub(value, OPEN_SIZE + 1, OPEN_SIZE + length)
    was[PLAN] = by_digest[digest]
    if not was[PLAN] then foreign[#foreign + 1] = blob_of(OPEN_SIZE + length) end
    return was
end

local function pack_open(was)
    return pack(OPEN_FORM, was[1], was[2], was[3], was[4], was[5], was[6], was[7], #was[ABOUT], digests[was[PLAN]])
        .. was[ABOUT]
end

local function blob_of_id(i)
    return is_stored[i] and call('HGET', KEYS[PLANS], t[first_id + i]) or ''
end

local function is_old(i)
    return oldest < horizon and tonumber(sub(t[first_id + i], 1, 12), 16) < horizon
end

local function lease_end(i)
    return math.max(lease[i] or 0, is_stored[i] and tonumber(call('ZSCORE', KEYS[LEASES], t[first_id + i]) or 0) or 0)
end

-- Records

local HOW = { [0] = 's', 'r', 'e' }               -- settled, released, expired
local rows = {}

local function book(i, part, was, outcome, how, overrun, tokens, cost, concurrency)
    local id, about = t[first_id + i], was[ABOUT]
    rows[#rows + 1] = pack('<BBBddddddddII', how, part, overrun and 1 or 0, was[AT], now, was[2], was[3], was[4],
        tokens, cost, concurrency, #id, #about) .. id .. about .. outcome
end

local function finish(i, how, overrun)
    open[i] = nil
    ended[i], has_ended[i] = overrun and string.upper(HOW[how]) or HOW[how], true
end

-- The steps. Each answers its verdict: d(one), D(one, overrun), a(gain), A(gain, it was an overrun), n (denied),
-- s(tale), w(indow), e(nded), u(nknown), c(losed), f(ull), o(ld)

local overs = {}
local SOFT, FLEETING = { [1] = true, [3] = true }, { [2] = true, [3] = true } -- kinds; fleeting: gone when it is empty

local function in_the_way(number, j, c, soft, more, id, amount)
    open_up(c)
    local ahead, claim, hard, waits = 0, claims[c], false, true
    if claim and claim[3] <= now then
        claims[c], claim = nil, nil
    end
    if claim and claim[1] < id then ahead = claim[2] end
    local wanted_in_all = used[c] + held[c] + amount
    local span = more and more.span
    if wanted_in_all + ahead > cap[c] then
        overs[#overs + 1] = pack('<IIBddddd', number, j, soft and 0 or 1, cap[c], used[c], held[c] + ahead, amount,
            span and fits_at(c, span, cap[c], amount) or -2)
        hard, waits = not soft, used[c] + amount <= cap[c]
    end
    for _, limit in ipairs(more and more.watch or {}) do
        if wanted_in_all > limit then
            overs[#overs + 1] = pack('<IIBddddd', number, j, 0, limit, used[c], held[c], amount,
                span and fits_at(c, span, limit, amount) or -2)
        end
    end
    return hard, waits
end

-- Older always wins, so two waiters' claims cannot block each other.
local function leave_claims(a, p, id)
    for j = 1, sizes[p] do
        local c, line = cell_at[cells_at[p] + j], lines_at[p] + 3 * j
        local index, kind, claim = t[line - 2], t[line - 1], claims[c]
        local amount = index == 0 and 1 or t[a + 4 + index]
        if not SOFT[kind] and amount ~= 0 and (not claim or claim[3] <= now or id <= claim[1]) then
            open_up(c)
            claims[c], live[c], dirty[c] = { id, amount, now + CLAIM_MS }, true, true
        end
    end
end

local function hold_lines(a, p, id)
    local t, cell_at, spans, held, live, dirty = t, cell_at, spans, held, live, dirty
    local cells, line = cells_at[p], lines_at[p] - 2
    for j = 1, sizes[p] do
        local c, index = cell_at[cells + j], t[line + 3 * j]
        local claim = claims[c]
        if claim and claim[1] == id then claims[c], dirty[c] = nil, true end
        if index == 0 then
            take(c, spans[c], 1, 0)
            if next_at[c] then fire(c) end
        else
            local amount = t[a + 4 + index]
            if amount ~= 0 then
                if spans[c] then
                    take(c, spans[c], 0, amount)
                else
                    held[c], live[c], dirty[c] = held[c] + amount, true, true
                end
            end
        end
    end
end

local function not_now(number, i, p, force)
    if open[i] then return 'a' end
    if ended[i] then return 'e' end
    if is_old(i) then return 'o' end
    if force then return nil end
    if now < closed then return 'c' end
    if is_stale(number, p) then return 's' end
    if now < since[p] or now >= till[p] then return 'w' end
end

local function reserve(number, a)
    local i, p, flags = t[a + 1], t[a + 2], t[a + 3]
    local wait, force, dry = flags % 2 == 1, flags % 4 > 1, flags > 3
    local refused = not_now(number, i, p, force)
    if refused then return refused end
    local t, cell_at, live, revs, used, held, cap, claims = t, cell_at, live, revs, used, held, cap, claims
    local id, cells, line, by_line, r = t[first_id + i], cells_at[p], lines_at[p] - 2, special[p], plan_rev[p]
    local first_over, is_full, hard, waits = #overs, false, false, true
    for j = 1, sizes[p] do
        local c, index, limit, more = cell_at[cells + j], t[line + 3 * j], t[line + 3 * j + 2], by_line and by_line[j]
        if not live[c] or r > revs[c] or more and more.carry then look(c, r, limit, more) end
        local amount = index == 0 and 1 or t[a + 4 + index]
        if amount ~= 0 and not is_full then
            local total = used[c] + held[c] + amount
            if total > MAX_AMOUNT then
                is_full = true
            elseif total > cap[c] or claims[c] or more and more.watch then
                local h, w = in_the_way(number, j, c, SOFT[t[line + 3 * j + 1]], more, id, amount)
                hard, waits = hard or h, waits and (w or not h)
            end
        end
    end
    if is_full then
        for o = #overs, first_over + 1, -1 do overs[o] = nil end
        return 'f'
    end
    if hard and not force then
        if wait and waits then leave_claims(a, p, id) end
        return 'n'
    end
    if not dry then
        hold_lines(a, p, id)
        lease[i] = now + t[a + 4]
        open[i] = { now, t[a + 5], t[a + 6], t[a + 7], t[a + 8], t[a + 9], t[a + 10], t[a + 11], p }
    end
    return 'd'
end

-- What a reservation still holds, or was charged when it expired, becomes what it used. What goes over the reserved
-- counts from now on.
local function charge(was, p, j, c, index, ended_hold, charged, real)
    local line, more = lines_at[p] + 3 * j, special[p] and special[p][j]
    look(c, plan_rev[p], t[line], more)
    local excess = math.max(0, real - was[HOLD + index])
    adjust(c, spans[c], was[AT], real - excess - charged, ended_hold)
    if excess > 0 then take(c, spans[c], excess, 0) end
    if FLEETING[t[line - 1]] and is_empty(c) then
        drop(c)
    elseif real > charged then
        fire(c)
    end
end

-- Charges all lines: what was held (`release` 1, else it is not any more) and charged becomes what is real.
local function charge_all(was, release, charged, real)
    local t, cell_at, live, revs, used, held, dirty = t, cell_at, live, revs, used, held, dirty
    local p = was[PLAN]
    local cells, line, r, by_line = cells_at[p], lines_at[p] - 2, plan_rev[p], special[p]
    for j = 1, sizes[p] do
        local index = t[line + 3 * j]
        if index ~= 0 then
            local c, hold, before, after = cell_at[cells + j], was[HOLD + index] * release, charged[index], real[index]
            if hold ~= 0 or before ~= after then
                local more = by_line and by_line[j]
                if after <= was[HOLD + index] and t[line + 3 * j + 1] < 2 and live[c] and r <= revs[c]
                    and not (more and (more.span or more.carry)) then
                    used[c], held[c], dirty[c] = used[c] + after - before, held[c] - hold, true
                    if after > before and next_at[c] then fire(c) end
                else
                    charge(was, p, j, c, index, hold, before, after)
                end
            end
        end
    end
end

local function real_of(a, how, was)
    if how == 0 then return { t[a + 4], t[a + 5], t[a + 6] } end
    if how == 1 then return { 0, 0, 0 } end
    local least = {}
    for x = 1, 3 do least[x] = math.min(was[ON_EXPIRY + x], was[HOLD + x]) end
    return least
end

local NONE = { 0, 0, 0 }

local function settle_open(i, a, how, force)
    if how == 2 and not force and now < lease_end(i) then return 'a' end
    local was = open[i]
    if type(was) == 'string' then was = parse_open(was, function() return blob_of_id(i) end) end
    if not was[PLAN] then return 'u' end          -- the batch is sent again, with its plan
    local real = real_of(a, how, was)
    local overrun = real[2] > was[HOLD + 2]
    charge_all(was, 1, NONE, real)
    local blob = how == 2 and (is_stored[i] and blob_of_id(i) or blobs[was[PLAN]])
    finish(i, how, overrun)
    if how == 2 then ended[i] = { overrun, real, was, lease_end(i), blob } end
    if how ~= 1 then book(i, 0, was, t[a + 7], how, overrun, real[1], real[2], real[3]) end
    return overrun and 'D' or 'd'
end

-- Settled after it had expired: the provisional charge becomes the real one, in the reservation's windows.
local function correct(i, a, how, was, charged)
    if not was[PLAN] then return 'u' end
    local real = real_of(a, how, was)
    local overrun = real[2] > was[HOLD + 2]
    charge_all(was, 0, charged, real)
    finish(i, how, overrun)
    book(i, 1, was, t[a + 7], how, overrun, real[1] - charged[1], real[2] - charged[2], real[3] - charged[3])
    return overrun and 'D' or 'd'
end

local function settle_ended(i, a, how)
    local end_of = ended[i]
    if type(end_of) == 'string' and sub(end_of, 1, 1) == 'x' then
        local overrun, _, x, y, z = parse('<Bdddd', end_of, 2)
        if how == 2 then return overrun == 1 and 'A' or 'a' end
        local value = sub(end_of, 35)
        return correct(i, a, how, parse_open(value, function(at) return sub(value, at + 1) end), { x, y, z })
    end
    if type(end_of) == 'string' then return end_of == string.upper(end_of) and 'A' or 'a' end
    if how == 2 then return end_of[1] and 'A' or 'a' end
    return correct(i, a, how, end_of[3], end_of[2])
end

-- A waiter that gave up is in nobody's way.
local function withdraw_claims(p, id)
    for j = 1, sizes[p] do
        local c = cell_at[cells_at[p] + j]
        if live[c] and claims[c] and claims[c][1] == id then
            claims[c], dirty[c] = nil, true
            if FLEETING[t[lines_at[p] + 3 * j - 1]] and is_empty(c) then drop(c) end
        end
    end
end

local function settle(a)
    local i, p, flags = t[a + 1], t[a + 2], t[a + 3]
    local how, force = flags % 4, flags > 3
    if open[i] then return settle_open(i, a, how, force) end
    if ended[i] then return settle_ended(i, a, how) end
    if is_old(i) then return 'o' end
    local id = t[first_id + i]
    if how == 1 then                              -- a reserve that arrives after its release must find it ended
        withdraw_claims(p, id)
        finish(i, how, false)
        return 'd'
    end
    if not force then return 'u' end
    for j = 1, sizes[p] do
        local c, line, more = cell_at[cells_at[p] + j], lines_at[p] + 3 * j, special[p] and special[p][j]
        local index = t[line - 2]
        local amount = index == 0 and 1 or t[a + 3 + index]
        if amount ~= 0 then
            look(c, plan_rev[p], t[line], more)
            take(c, spans[c], amount, 0)
            fire(c)
        end
    end
    finish(i, how, false)
    local made = math.min(tonumber(sub(id, 1, 12), 16), now)
    book(i, 0, { made, 0, 0, 0, 0, 0, 0, t[a + 8] }, t[a + 7], how, false, t[a + 4], t[a + 5], t[a + 6])
    return 'd'
end

local function extend(a)
    local i = t[a + 1]
    if not open[i] then return ended[i] and 'e' or 'u' end
    lease[i] = math.max(lease[i] or 0, now + t[a + 2])
    return 'd'
end

local function peek(number, a)
    local p = t[a + 1]
    if is_stale(number, p) then return 's' end
    for j = 1, sizes[p] do
        local c = cell_at[cells_at[p] + j]
        if live[c] then
            look(c, plan_rev[p], t[lines_at[p] + 3 * j], special[p] and special[p][j])
            fire(c)
        end
    end
    return 'd'
end

local verdicts = {}
for number = 1, ops do
    local a = at + 1
    local what = t[a]
    if what == 1 then
        verdicts[number], at = reserve(number, a), at + 12
    elseif what == 2 then
        verdicts[number], at = settle(a), at + 9
    elseif what == 3 then
        verdicts[number], at = extend(a), at + 3
    else
        verdicts[number], at = peek(number, a), at + 2
    end
end
if #foreign > 0 then
    for f, blob in ipairs(foreign) do foreign[f] = pack('<I', #blob) .. blob end
    return 'p' .. table.concat(foreign)
end
