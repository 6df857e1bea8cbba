package ledger

// FileName is the ledger's name in its state directory.
const FileName = fileName
