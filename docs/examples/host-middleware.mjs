// How a host product lets people in: middleware for Express and whatever else calls (request, response, next).
//
//   import { muster } from "./host-middleware.mjs";
//   const people = muster({ url: "https://people.example.com", serviceToken: process.env.MUSTER_SERVICE_TOKEN });
//   app.get("/matters/:id", people.require({ resource: (request) => ({ type: "matter", externalId: request.params.id }) }), show);
//   app.post("/matters", people.require({ permission: "resources.manage" }), create);
//
// Who the person is, Muster is asked with the person's own token; what they have access to, with the service token (scope
// `access`). Answers are kept for a few seconds: that is how long somebody who was suspended may still get in. Set
// `cacheSeconds: 0` to ask each time. Needs Node 18 or a later one, and nothing else.

import { createHash } from "node:crypto";

const VIEWER = "{ viewer { permissions member { id } account { id } } }";
const ACCESS = `query ($member: ID!, $resources: [ResourceReferenceInput!]!) {
  canAccess(memberId: $member, resources: $resources) { allowed } }`;

export function muster({ url, serviceToken, cacheSeconds = 5, timeoutSeconds = 2, cacheEntries = 10_000 }) {
  const cache = new Cache(cacheSeconds * 1000, cacheEntries);

  async function ask(headers, query, variables) {
    const response = await fetch(`${url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(timeoutSeconds * 1000),
    });
    const { data, errors } = await response.json();
    if (errors?.[0]?.extensions?.code === "UNAUTHENTICATED" && !headers["muster-account"]) return null;
    if (errors) throw new Error(`Muster: ${errors[0].extensions?.code}: ${errors[0].message}`);
    return data;
  }

  // Whoever a session token belongs to; null for nobody.
  function viewer(authorization) {
    if (!authorization) return null;
    // Not the token itself: it would stand in every dump of this process's memory.
    const key = createHash("sha256").update(authorization).digest("base64");
    return cache.get(key, async () => (await ask({ authorization }, VIEWER))?.viewer ?? null);
  }

  // Whether a member has access to a resource, named by { id } or { type, externalId }.
  function canAccess(account, member, resource) {
    const key = JSON.stringify([account, member, resource.id, resource.type, resource.externalId]);
    const headers = { authorization: `Bearer ${serviceToken}`, "muster-account": account };
    return cache.get(key, async () => (await ask(headers, ACCESS, { member, resources: [resource] })).canAccess[0].allowed);
  }

  // 200 with the person, 401 for nobody, 403 for somebody who may not.
  async function decide(authorization, { permission, resource } = {}) {
    const person = await viewer(authorization);
    if (!person) return { status: 401 };
    if (permission && !person.permissions.includes(permission)) return { status: 403 };
    if (resource && !(await canAccess(person.account.id, person.member.id, resource))) return { status: 403 };
    return { status: 200, person };
  }

  function require({ permission, resource } = {}) {
    return async (request, response, next) => {
      try {
        const wanted = { permission, resource: resource?.(request) };
        const { status, person } = await decide(request.headers.authorization, wanted);
        if (status !== 200) {
          response.statusCode = status;
          response.end();
          return;
        }
        request.person = person;
        next();
      } catch (error) {
        next(error); // Muster does not answer: nobody is let in.
      }
    };
  }

  return { decide, require };
}

// Answers for a while, and one question at a time for each key. Failures are not kept.
class Cache {
  #kept = new Map();

  constructor(milliseconds, entries) {
    this.milliseconds = milliseconds;
    this.entries = entries;
  }

  get(key, ask) {
    const kept = this.#kept.get(key);
    if (kept && kept.until > Date.now()) return kept.answer;
    this.#kept.delete(key);
    const answer = ask();
    if (this.milliseconds > 0) {
      // The oldest goes first: a Map keeps the order in which its keys were set.
      if (this.#kept.size >= this.entries) this.#kept.delete(this.#kept.keys().next().value);
      this.#kept.set(key, { answer, until: Date.now() + this.milliseconds });
      answer.catch(() => this.#kept.delete(key));
    }
    return answer;
  }
}
