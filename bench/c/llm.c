// llm: stream OpenAI chat completion chunks at a constant rate to every client, without an LLM. One thread, epoll.
// build: cc -O2 -o llm llm.c
// use:   llm PORT DELTAS_PER_SECOND DELTAS
// The text of each delta is "T=<ns CLOCK_MONOTONIC at which it was due>;N=<its number>;", so that a reader can measure the
// delay and detect missing deltas. A reader that is behind gets its deltas later. The answer does not depend on the request. It ends with a finish_reason and [DONE].
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
typedef struct { int requested; long sent; long long next; int tail; long body; char head[4096]; int headlen; } conn;
static long long now_ns(void){ struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return t.tv_sec*1000000000LL+t.tv_nsec; }
static int chunk(char*out,const char*text,int n){ return sprintf(out,"%x\r\n%.*s\r\n",n,n,text); }
int main(int ac,char**av){
  int port=atoi(av[1]); double rate=atof(av[2]); long deltas=atol(av[3]); long long gap=(long long)(1e9/rate);
  signal(SIGPIPE,SIG_IGN); static conn cs[20000]; static int open_fds[20000]; int n_open=0;
  int one=1,ls=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0); setsockopt(ls,SOL_SOCKET,SO_REUSEADDR,&one,sizeof one);
  struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port),.sin_addr={htonl(INADDR_LOOPBACK)}};
  if(bind(ls,(void*)&a,sizeof a)||listen(ls,4096)){ perror("bind"); return 1; }
  int ep=epoll_create1(0); struct epoll_event ev={.events=EPOLLIN,.data.fd=ls},evs[256]; epoll_ctl(ep,EPOLL_CTL_ADD,ls,&ev);
  char buf[65536],event[1024],out[2048];
  for(;;){ int k=epoll_wait(ep,evs,256,1);
    for(int i=0;i<k;i++){ int fd=evs[i].data.fd;
      if(fd==ls){ int c; while((c=accept4(ls,0,0,SOCK_NONBLOCK))>=0){ setsockopt(c,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one); memset(&cs[c],0,sizeof(conn)); ev.data.fd=c; epoll_ctl(ep,EPOLL_CTL_ADD,c,&ev); open_fds[n_open++]=c; } continue; }
      ssize_t r=read(fd,buf,sizeof buf); conn*c=&cs[fd];
      if(r<=0){ close(fd); for(int j=0;j<n_open;j++) if(open_fds[j]==fd){ open_fds[j]=open_fds[--n_open]; break; } continue; }
      if(c->requested) continue; // the bytes after the request head are its body
      int m=r<4095-c->headlen?r:4095-c->headlen; memcpy(c->head+c->headlen,buf,m); c->headlen+=m; c->head[c->headlen]=0;
      if(strstr(c->head,"\r\n\r\n")){ c->requested=1; c->next=now_ns(); c->headlen=0;
        const char*h="HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"; write(fd,h,strlen(h)); } }
    long long t=now_ns();
    for(int j=0;j<n_open;j++){ int fd=open_fds[j]; conn*c=&cs[fd];
      while(c->requested&&(c->headlen||c->next<=t)){ int n,w; // head: bytes that the socket had no room for
        if(c->headlen){ w=write(fd,c->head,c->headlen); if(w<=0) break; c->headlen-=w; memmove(c->head,c->head+w,c->headlen); if(c->headlen) break; }
        if(c->sent>deltas){ c->requested=0; c->sent=0; break; }
        if(c->next>t) break;
        if(c->sent<deltas) n=sprintf(event,"data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"T=%lld;N=%ld;\"},\"finish_reason\":null}]}\n\n",c->next,c->sent);
        else n=sprintf(event,"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
        n=chunk(out,event,n); if(c->sent==deltas) n+=sprintf(out+n,"0\r\n\r\n");
        w=write(fd,out,n); if(w<0) w=0; if(w<n){ c->headlen=n-w; memcpy(c->head,out+w,n-w); }
        c->sent++; c->next+=gap; if(c->sent>deltas&&!c->headlen){ c->requested=0; c->sent=0; } } } }
}
