// Loaded into n8n by the tests: what would go to discord.com, or to n8n's own public address, stays on loopback.
const http = require('node:http');
const https = require('node:https');

const ports = JSON.parse(process.env.INTERNET_HERE || '{}');
const real = https.request;

function host(options) {
  if (typeof options === 'string') return new URL(options).hostname;
  return options.hostname || options.host || '';
}

https.request = function request(options, ...rest) {
  const name = Object.keys(ports).find((one) => host(options).endsWith(one));
  if (name) {
    const url = typeof options === 'string' || options instanceof URL ? new URL(options) : null;
    const more = url ? { path: url.pathname + url.search } : { ...options };
    return http.request(
      { ...more, protocol: 'http:', hostname: '127.0.0.1', host: '127.0.0.1', port: ports[name], agent: undefined, agents: undefined },
      ...rest,
    );
  }
  return real.call(https, options, ...rest);
};
