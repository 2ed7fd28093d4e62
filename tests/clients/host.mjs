// The example of a host product's middleware, in front of a server of its own: node host.mjs URL SERVICE_TOKEN ACCOUNT PERSON_TOKEN

import { createServer } from "node:http";

import { muster } from "../../docs/examples/host-middleware.mjs";

const [url, serviceToken, , personToken] = process.argv.slice(2);
let asked = 0;
const plain = globalThis.fetch;
globalThis.fetch = (target, options) => {
  if (String(target).startsWith(url)) asked += 1;
  return plain(target, options);
};

const people = muster({ url, serviceToken, cacheSeconds: 60 });
const matter = people.require({ resource: (request) => ({ type: "matter", externalId: request.url.split("/")[2] }) });
const manage = people.require({ permission: "resources.manage" });
const server = createServer((request, response) => {
  const guard = request.url === "/manage" ? manage : matter;
  guard(request, response, (error) => {
    response.statusCode = error ? 500 : 200;
    response.end(error ? String(error) : request.person.member.id);
  });
});

await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const own = `http://127.0.0.1:${server.address().port}`;
async function tell(what, path, token) {
  const before = asked;
  const response = await plain(own + path, token ? { headers: { authorization: `Bearer ${token}` } } : {});
  await response.text();
  console.log(what, response.status, asked - before);
}

await tell("no token", "/matters/open");
await tell("a wrong token", "/matters/open", personToken.slice(0, -1) + (personToken.endsWith("A") ? "E" : "A"));
await tell("an open matter", "/matters/open", personToken);
await tell("a closed matter", "/matters/closed", personToken);
await tell("an unknown matter", "/matters/unknown", personToken);
await tell("without the permission", "/manage", personToken);
await tell("again from the cache", "/matters/open", personToken);
server.close();
server.closeAllConnections();
