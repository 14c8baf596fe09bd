// Loaded before a program that would listen on every address of the machine: its servers listen on loopback alone.
const { Server } = require('node:net')

const listen = Server.prototype.listen

Server.prototype.listen = function (first, ...others) {
  const asked = first !== null && typeof first === 'object' ? first : { port: Number(first) }
  const listening = others.find((other) => typeof other === 'function')
  return listen.call(this, { ...asked, host: '127.0.0.1' }, listening)
}
