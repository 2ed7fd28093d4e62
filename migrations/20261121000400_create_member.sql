-- A person's place in one account, what they hold there, and the one owner.
CREATE TABLE member (
    account_id        uuid NOT NULL REFERENCES account,
    member_id         uuid NOT NULL,
    user_id           uuid REFERENCES app_user,
    email             text NOT NULL,
    status            text NOT NULL CHECK (status IN ('INVITED', 'ACTIVE', 'SUSPENDED', 'DEACTIVATED')),
    -- SUSPENDED: INVITED or ACTIVE. DEACTIVATED: ACTIVE or SUSPENDED (a suspended one comes back suspended, prior ACTIVE).
    prior_status      text CHECK (prior_status IN ('INVITED', 'ACTIVE', 'SUSPENDED')),
    first_name        text,
    last_name         text,
    initials          text,
    time_zone         text,
    address           text,
    city              text,
    state             text,
    zip               text,
    country           text,
    phone             text,
    job_title         text,
    subscription_type text CHECK (subscription_type IN ('ATTORNEY', 'NON_ATTORNEY')),
    version           integer NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL,
    joined_at         timestamptz,
    sort_name         text NOT NULL GENERATED ALWAYS AS
                      (lower(coalesce(last_name, '') || ' ' || coalesce(first_name, ''))) STORED,
    PRIMARY KEY (account_id, member_id),
    UNIQUE (account_id, email),
    UNIQUE (account_id, user_id),
    UNIQUE (account_id, member_id, status),
    CHECK (CASE status
        WHEN 'SUSPENDED' THEN prior_status IN ('INVITED', 'ACTIVE')
        WHEN 'DEACTIVATED' THEN prior_status IN ('ACTIVE', 'SUSPENDED')
        ELSE prior_status IS NULL END),
    CHECK ((user_id IS NULL) = (status = 'INVITED' OR (status = 'SUSPENDED' AND prior_status = 'INVITED'))),
    CHECK ((joined_at IS NULL) = (user_id IS NULL))
);
CREATE INDEX member_user_id ON member (user_id);
CREATE INDEX member_by_name ON member (account_id, sort_name, member_id);
CREATE INDEX member_by_created ON member (account_id, created_at, member_id);
COMMENT ON COLUMN member.email IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.status IS 'not personal';
COMMENT ON COLUMN member.prior_status IS 'not personal';
COMMENT ON COLUMN member.first_name IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.last_name IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.initials IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.time_zone IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.address IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.city IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.state IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.zip IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.country IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.phone IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.job_title IS 'personal: the row is deleted with the membership';
COMMENT ON COLUMN member.subscription_type IS 'not personal';
COMMENT ON COLUMN member.sort_name IS 'personal: the row is deleted with the membership';

-- Roles of members, also of invited ones. Assignments cover the whole account (the nil unit) until units exist.
CREATE TABLE member_role (
    account_id  uuid NOT NULL,
    member_id   uuid NOT NULL,
    role_id     uuid NOT NULL,
    unit_id     uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
                CHECK (unit_id = '00000000-0000-0000-0000-000000000000'),
    assigned_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, member_id, role_id, unit_id),
    FOREIGN KEY (account_id, member_id) REFERENCES member,
    FOREIGN KEY (account_id, role_id) REFERENCES role
);
CREATE INDEX member_role_by_role ON member_role (account_id, role_id);

-- Exactly one owner, an active account-wide Administrator: the keys refuse suspending, demoting or removing them.
CREATE TABLE account_owner (
    account_id    uuid PRIMARY KEY REFERENCES account,
    member_id     uuid NOT NULL,
    member_status text NOT NULL DEFAULT 'ACTIVE' CHECK (member_status = 'ACTIVE'),
    role_id       uuid NOT NULL DEFAULT '00000000-0000-7000-8000-000000000001'
                  CHECK (role_id = '00000000-0000-7000-8000-000000000001'),
    unit_id       uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
                  CHECK (unit_id = '00000000-0000-0000-0000-000000000000'),
    CONSTRAINT account_owner_is_active FOREIGN KEY (account_id, member_id, member_status)
        REFERENCES member (account_id, member_id, status),
    CONSTRAINT account_owner_is_administrator FOREIGN KEY (account_id, member_id, role_id, unit_id)
        REFERENCES member_role (account_id, member_id, role_id, unit_id)
);
COMMENT ON COLUMN account_owner.member_status IS 'not personal';

-- Written in batches by the API, never by a read; judged nowhere but shown.
CREATE TABLE member_activity (
    account_id       uuid NOT NULL,
    member_id        uuid NOT NULL,
    last_sign_in_at  timestamptz,
    last_activity_at timestamptz,
    PRIMARY KEY (account_id, member_id),
    FOREIGN KEY (account_id, member_id) REFERENCES member ON DELETE CASCADE
);
