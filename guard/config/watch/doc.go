// Package watch notices that the policy on disk has become another, reads it and hands
// it over, whichever way it was saved.
//
//	watch.go   Watcher: its goroutine, what is asked of it and what it hands over
//	look.go    one look at the files, and what to make of it
//	notify.go  inotify on the directories that matter
//	places.go  which directories matter
//
// What holds here:
//
//   - Content decides. Events only say when to look, whatever name they are about;
//     nothing is sent whose hash is that of what was sent before.
//   - What is hashed is what is parsed, and parsed here: who takes a policy over has
//     only to put it in force.
//   - Watches are in place before the files are read, so a change after that is an
//     event, and one that no event tells is found within 30 s.
//   - What is wrong must have stayed so for a while: a file that an editor has just
//     emptied or moved away is no news.
package watch
