/* What a system looked at, by pieces or by words: the arithmetic of nmt/alignment.py. A span is [start, end], in
   Unicode's characters; null in its place stands for </s>, which belongs to no word. */

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function membership(pieces, words) {
  // The share of each piece that belongs to each word, by characters; a piece beside all words: to the one behind it.
  return pieces.map(([start, end]) => {
    const shared = words.map((word) => Math.max(0, Math.min(end, word[1]) - Math.max(start, word[0])));
    if (words.length && !shared.some((share) => share > 0)) {
      const behind = words.filter((word) => word[1] <= start).length;
      shared[Math.min(behind, words.length - 1)] = 1;
    }
    const total = shared.reduce((sum, share) => sum + share, 0);
    return shared.map((share) => share / Math.max(total, 1e-12));
  });
}

function pieceWeights(system, part, reading) {
  // (T, S) of a sentence: of the reading's head, or the mean of all.
  const width = part.pieces[0].length + 1;
  const own = reading.layer === null;
  const bytes = own ? (part.ownBytes ??= bytesOf(part.own)) : (part.attentionBytes ??= bytesOf(part.attention));
  const height = part.pieces[1].length + (own ? 0 : 1);
  const heads = reading.head === null ? [...Array(own ? 1 : system.heads).keys()] : [reading.head - 1];
  const first = own ? 0 : (reading.layer - 1) * system.heads;
  return part.pieces[1].map((_, row) => {
    const starts = heads.map((head) => ((first + head) * height + row + (reading.shift ?? 0)) * width);
    return Array.from({ length: width }, (_, column) =>
      starts.reduce((sum, start) => sum + bytes[start + column], 0) / (255 * heads.length));
  });
}

function toWords(weights, [read, written], [readWords, writtenWords]) {
  // Summed over the pieces of a word that is read, the mean over those of a word that is written.
  const [into, onto] = [membership(written, writtenWords), membership(read, readWords)];
  return writtenWords.map((_, word) => {
    const total = Math.max(1e-12, into.reduce((sum, shares) => sum + shares[word], 0));
    const row = Array(read.length + 1).fill(0);
    into.forEach((shares, piece) => {
      if (shares[word] > 0) row.forEach((_, i) => { row[i] += (shares[word] / total) * weights[piece][i]; });
    });
    return [...readWords.map((_, i) => onto.reduce((sum, shares, piece) => sum + row[piece] * shares[i], 0)),
      row[read.length]];
  });
}

function transposed({ rows, columns, weights }) {
  return { rows: columns, columns: rows, weights: columns.map((_, i) => weights.map((row) => row[i])) };
}

function gridOf(system, part, [sourceWords, targetWords], reading, byWords) {
  // Spans of target and source, and a weight of each two: rows are of the target, whatever the system reads.
  const words = system.reverse ? [targetWords, sourceWords] : [sourceWords, targetWords];
  const pieces = pieceWeights(system, part, reading);
  const weights = byWords ? toWords(pieces, part.pieces, words) : pieces;
  const [read, written] = byWords ? words : part.pieces;
  const grid = { rows: written, columns: [...read, null], weights };
  return system.reverse ? transposed(grid) : grid;
}

function blocksOf(spans, words) {
  // Of each word the first and the last of the spans that share in it, or null.
  const shares = membership(spans.filter(Boolean), words);
  return words.map((_, word) => {
    const own = shares.flatMap((share, i) => (share[word] > 0 ? [i] : []));
    return own.length ? [own[0], own.at(-1)] : null;
  });
}

function linksOf(text) {
  return text ? text.split(" ").map((link) => link.split("-").map(Number)) : [];
}
