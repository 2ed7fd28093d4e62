//! DESIGN §2.1: no race oversells, and every seat in use is somebody's.

use super::check::checks;

checks! { of_accounts
    Broken "seats.in_use" "seats in use are those that members hold and those that running imports keep"
    r#"SELECT p.account_id, jsonb_build_object('product', p.product_id, 'inUse', p.in_use, 'held', a.held, 'keptByImports', i.kept)
       FROM license_pool p
       LEFT JOIN LATERAL (SELECT count(*) AS held FROM license_allocation a
                          WHERE a.account_id = p.account_id AND a.product_id = p.product_id) a ON true
       LEFT JOIN LATERAL (SELECT coalesce(sum(i.seats_held), 0) AS kept FROM member_import i
                          WHERE i.account_id = p.account_id AND p.product_id = 'base') i ON true
       WHERE p.account_id = ANY($1) AND p.in_use <> a.held + i.kept"#

    Broken "seats.oversold" "no more seats are in use than are owned and not about to be removed, and never fewer than none"
    r#"SELECT account_id, jsonb_build_object('product', product_id, 'inUse', in_use, 'granted', granted, 'trial', trial, 'paid', paid,
                                             'scheduled', scheduled, 'namedHeld', named_held)
       FROM license_pool
       WHERE account_id = ANY($1)
         AND NOT (in_use >= 0 AND granted >= 0 AND trial >= 0 AND paid >= 0 AND scheduled BETWEEN 0 AND paid AND named_held BETWEEN 0 AND scheduled
                  AND in_use >= named_held AND in_use + scheduled - named_held <= granted + trial + paid)"#

    Broken "seats.holders" "whoever is active, suspended or has a live invitation holds a seat, and nobody else does"
    r#"SELECT m.account_id, jsonb_build_object('member', m.member_id, 'status', m.status, 'invitation', i.state,
                                               'seat', a.member_id IS NOT NULL)
       FROM member m
       LEFT JOIN invitation i ON i.account_id = m.account_id AND i.member_id = m.member_id AND i.finished_at IS NULL
       LEFT JOIN license_allocation a ON a.account_id = m.account_id AND a.member_id = m.member_id AND a.product_id = 'base'
       WHERE m.account_id = ANY($1)
         AND (a.member_id IS NOT NULL) <> (m.status IN ('INVITED', 'ACTIVE', 'SUSPENDED') AND i.state IS DISTINCT FROM 'EXPIRED')"#

    Broken "seats.reserved" "a seat is reserved as long as its holder's invitation is open"
    r#"SELECT a.account_id, jsonb_build_object('member', a.member_id, 'product', a.product_id, 'reserved', a.reserved)
       FROM license_allocation a
       LEFT JOIN invitation i ON i.account_id = a.account_id AND i.member_id = a.member_id AND i.finished_at IS NULL
       WHERE a.account_id = ANY($1) AND a.reserved <> (i.state IS NOT NULL)"#

    Broken "seats.pool" "every account has a pool of base seats"
    r#"SELECT a.account_id, '{}'::jsonb FROM account a
       WHERE a.account_id = ANY($1)
         AND NOT EXISTS (SELECT FROM license_pool p WHERE p.account_id = a.account_id AND p.product_id = 'base')"#

    Broken "seats.named" "as many holders are named for removal as the pool counts"
    r#"SELECT p.account_id, jsonb_build_object('product', p.product_id, 'namedHeld', p.named_held, 'named', n.named)
       FROM license_pool p
       LEFT JOIN LATERAL (SELECT count(*) AS named FROM license_named n
                          WHERE n.account_id = p.account_id AND n.product_id = p.product_id) n ON true
       WHERE p.account_id = ANY($1) AND p.named_held <> n.named"#

    Broken "seats.scheduled" "as many licences are about to be removed as scheduled changes remove"
    r#"SELECT p.account_id, jsonb_build_object('product', p.product_id, 'scheduled', p.scheduled, 'changes', c.removed)
       FROM license_pool p
       LEFT JOIN LATERAL (SELECT coalesce(sum((r->>'quantity')::int), 0) AS removed
                          FROM license_change c, jsonb_array_elements(c.terms->'reductions') r
                          WHERE c.account_id = p.account_id AND c.status = 'SCHEDULED' AND r->>'productId' = p.product_id) c ON true
       WHERE p.account_id = ANY($1) AND p.scheduled <> c.removed"#

    Broken "seats.active" "licences beside the base one are held by active or suspended members only"
    r#"SELECT a.account_id, jsonb_build_object('member', a.member_id, 'product', a.product_id, 'status', m.status)
       FROM license_allocation a JOIN member m USING (account_id, member_id)
       WHERE a.account_id = ANY($1) AND a.product_id <> 'base' AND m.status NOT IN ('ACTIVE', 'SUSPENDED')"#

    Broken "seats.trial" "a pool has licences of a trial as long as that runs"
    r#"SELECT p.account_id, jsonb_build_object('product', p.product_id, 'trial', p.trial, 'running', t.quantity)
       FROM license_pool p
       LEFT JOIN license_trial t ON t.account_id = p.account_id AND t.product_id = p.product_id AND t.ended_at IS NULL
       WHERE p.account_id = ANY($1) AND p.trial <> coalesce(t.quantity, 0)"#
}
