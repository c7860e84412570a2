// Loaded into n8n by the tests: what would go to discord.com goes to a stand-in on loopback.
const http = require('node:http');
const https = require('node:https');

const port = process.env.DISCORD_HERE;
const real = https.request;

function host(options) {
  if (typeof options === 'string') return new URL(options).hostname;
  return options.hostname || options.host || '';
}

https.request = function request(options, ...rest) {
  if (port && host(options).endsWith('discord.com')) {
    const url = typeof options === 'string' || options instanceof URL ? new URL(options) : null;
    const more = url ? { path: url.pathname + url.search } : { ...options };
    return http.request(
      { ...more, protocol: 'http:', hostname: '127.0.0.1', host: '127.0.0.1', port, agent: undefined, agents: undefined },
      ...rest,
    );
  }
  return real.call(https, options, ...rest);
};
