// sse_load: hold N streaming connections; count events, gaps and duplicates, and measure delays. One thread, epoll.
// build: cc -O2 -o sse_load sse_load.c
// use:   sse_load -p PORT -n CONNS -u '/sse/connect/u%d' -d SECONDS [-a ADDR] [-H 'Name: v']... [-T FILE with one bearer token per line] [-r new conns/s] [-f first user number] [-q no progress lines] [-s never read]
// -t sse (default) | ndjson | websocket | poll: the transport. A poll sends one request after another, each on a new connection
// and with the cursor of the previous response, because the hub closes the connection. WebSocket pings are answered.
// -e N (sse, ndjson): end as soon as every connection has received N events (hub.open counts as one); "all_s" is that time.
// -E N: the same for events with a stamp N=, which may arrive together in one event. -K: print the result then, but hold the
// connections until SIGTERM, so that the server has nothing to close while its CPU time is read.
// -A: begin a connection again that ends before it has received a stamp N=, half a second to a second later, as clients do;
// "again" counts how often.
// An SSE event is a blank line after at least one 'data' line. A stamp 'T=<ns CLOCK_MONOTONIC>;' in the data gives the delay,
// a stamp 'N=<seq>;' gives order and loss per connection. An event may carry several stamps. Output: a line per second on
// standard error, then one line of JSON.
#define _GNU_SOURCE
#define LINE 8192
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <fcntl.h>
#include <time.h>
#include <signal.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
typedef struct { int fd; int state; /*0 connecting 1 header 2 stream 3 dead 4 waits for another attempt*/ long long due; long events; long lastseq; long numbered; long gaps; long dups; int has_data; int linelen; char line[LINE];
  unsigned char head[4]; int headlen; long left; /* WebSocket frame: header bytes read, payload bytes still to read */
  char*body; size_t bodylen; char cursor[512]; /* poll: response bytes read, and the cursor of the next request */ } conn;
enum { SSE, NDJSON, WEBSOCKET, POLL }; static int transport=SSE;
static const char*transport_names[]={"sse","ndjson","websocket","poll"};
static const char*request_headers[]={"Accept: text/event-stream\r\n","Accept: application/x-ndjson\r\n","Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n","Accept: application/json\r\n"};
static long long now_ns(void){ struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return t.tv_sec*1000000000LL+t.tv_nsec; }
static long firsts[4000]; static long long stamps=0; // delays of the stamps N=0; number of stamps
static long hist[4000]; // buckets of 0.05 ms up to 200 ms; the last one holds the rest
static long long total=0, bytes=0, comments=0, maxdelay=0; static volatile int stop=0,killed=0;
static void onsig(int s){ stop=1; killed=1; }
static void stamps_in(conn*c,char*p){ // read the stamps of a line, a message or a poll response
  long long d=-1;
  while((p=strpbrk(p,"TN"))){ if(p[1]!='='){ p++; continue; } if(*p=='T'){ d=now_ns()-strtoll(p+2,0,10); stamps++; if(d>=0){ if(d>maxdelay)maxdelay=d; long b=d/50000; if(b>3999)b=3999; hist[b]++; } p+=2; continue; }
    long s=strtol(p+2,0,10); c->numbered++; if(c->lastseq>=0){ if(s>c->lastseq+1) c->gaps+=s-c->lastseq-1; else if(s<=c->lastseq) c->dups++; } if(s>c->lastseq) c->lastseq=s; if(s==0&&d>=0){ long b=d/50000; if(b>3999)b=3999; firsts[b]++; } p+=2; }
}
static void event(conn*c,char*text){ c->events++; total++; stamps_in(c,text); }
static void line(conn*c){
  char*l=c->line; int n=c->linelen; if(n&&l[n-1]=='\r') n--; l[n<LINE-1?n:LINE-1]=0;
  if(transport==NDJSON){ if(l[0]=='{') event(c,l); return; } // other lines are chunk sizes and heartbeats
  if(n==0){ if(c->has_data){ c->events++; total++; } c->has_data=0; return; }
  if(l[0]==':'){ comments++; return; }
  if(!strncmp(l,"data",4)){ c->has_data=1; stamps_in(c,l); }
}
static void frames(conn*c,const unsigned char*b,ssize_t n){ // RFC 6455 section 5.2: frames from a server are not masked
  while(n>0){
    if(c->left==0){ c->head[c->headlen++]=*b++; n--; int more=(c->head[1]&127)==126?4:2;
      if(c->headlen<2||c->headlen<more) continue;
      if((c->head[1]&127)==127){ fprintf(stderr,"frames of more than 64 kB are not supported\n"); exit(1); }
      c->left=more==4?c->head[2]<<8|c->head[3]:c->head[1]&127; c->linelen=0; }
    long take=c->left<n?c->left:n, room=LINE-1-c->linelen, kept=take<room?take:room;
    memcpy(c->line+c->linelen,b,kept); c->linelen+=kept; b+=take; n-=take; c->left-=take; if(c->left) return;
    c->line[c->linelen]=0; c->headlen=0;
    switch(c->head[0]&15){ case 1: event(c,c->line); break; case 9: comments++; write(c->fd,"\x8a\x80\0\0\0\0",6); break; } }
}
static void gather(conn*c,const char*b,ssize_t n){ c->body=realloc(c->body,c->bodylen+n+1); memcpy(c->body+c->bodylen,b,n); c->bodylen+=n; c->body[c->bodylen]=0; }
static int polled(conn*c){ // return whether the response is complete: {"events":[…],"cursor":"…"} in one chunk
  char*end=c->body?strstr(c->body,"],\"cursor\":\""):0; if(!end) return 0;
  for(char*p=c->body;(p=strstr(p,"\"event\":\""))&&p<end;p+=9){ c->events++; total++; }
  stamps_in(c,c->body); char*from=end+12,*to=strchr(from,'"'); size_t n=to?to-from:0; if(n>=sizeof c->cursor) return 0;
  memcpy(c->cursor,from,n); c->cursor[n]=0; free(c->body); c->body=0; c->bodylen=0; return 1;
}
static void begin(conn*c,int ep,int id,const char*addr,int port){ int fd=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0); if(fd<0){perror("socket");exit(1);} int one=1; setsockopt(fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
  struct sockaddr_in src={.sin_family=AF_INET}; char sa[32]; snprintf(sa,32,"127.0.0.%d",1+id/20000); inet_pton(AF_INET,sa,&src.sin_addr); setsockopt(fd,IPPROTO_IP,IP_BIND_ADDRESS_NO_PORT,&one,sizeof one); bind(fd,(void*)&src,sizeof src);
  struct sockaddr_in d={.sin_family=AF_INET,.sin_port=htons(port)}; inet_pton(AF_INET,addr,&d.sin_addr);
  if(connect(fd,(void*)&d,sizeof d)<0&&errno!=EINPROGRESS){perror("connect");exit(1);} c->fd=fd; c->state=0; c->linelen=0; struct epoll_event ev={.events=EPOLLOUT,.data.u32=id}; epoll_ctl(ep,EPOLL_CTL_ADD,fd,&ev); }
static double pct_of(long*h,double q){ long n=0,a=0; for(int i=0;i<4000;i++) n+=h[i]; if(!n) return -1; for(int i=0;i<4000;i++){ a+=h[i]; if(a>=q*n) return (i+1)*0.05; } return -1; }
static double pct(double q,long n){ return n?pct_of(hist,q):-1; }
#define END { close(c->fd); if(retry&&!c->numbered){ c->state=4; c->due=now_ns()+500000000LL+rand()%500000000; again++; waiting++; } else { c->state=3; dead++; } }
int main(int ac,char**av){
  int port=8080,n=100,ramp=5000; double dur=10; const char*u="/sse/connect/u%d",*addr="127.0.0.1",*tokf=0; char hdr[4096]=""; int o, quiet=0; int first=0; long enough=0,enough_numbered=0; int stall=0; int satisfied=0,keep=0,retry=0,waiting=0; long again=0; double alls=-1;
  while((o=getopt(ac,av,"p:n:u:d:a:H:T:r:qf:e:E:KAst:"))!=-1) switch(o){case 'p':port=atoi(optarg);break;case 'n':n=atoi(optarg);break;case 'u':u=optarg;break;case 'd':dur=atof(optarg);break;case 'a':addr=optarg;break;case 'H':strcat(hdr,optarg);strcat(hdr,"\r\n");break;case 'T':tokf=optarg;break;case 'r':ramp=atoi(optarg);break;case 'q':quiet=1;break;case 'e':enough=atol(optarg);break;case 'E':enough_numbered=atol(optarg);break;case 'K':keep=1;break;case 'A':retry=1;break;case 's':stall=1;break;case 't':for(transport=0;transport<4&&strcmp(optarg,transport_names[transport]);transport++); if(transport==4){fprintf(stderr,"unknown transport %s\n",optarg);return 2;} break;case 'f':first=atoi(optarg);break;}
  signal(SIGINT,onsig); signal(SIGTERM,onsig); signal(SIGPIPE,SIG_IGN);
  conn*cs=calloc(n,sizeof(conn)); FILE*tf=tokf?fopen(tokf,"r"):0; int ep=epoll_create1(0); struct epoll_event ev,evs[512];
  long long t0=now_ns(),lastp=t0,scanned=0; int opened=0,alive=0,dead=0; long long lasttot=0; char*buf=malloc(1<<18); long bad=0; long long tconn=0;
  while(!stop){ long long t=now_ns(); double el=(t-t0)/1e9; if(el>dur) break;
    int want=(int)(el*ramp)+1; if(want>n) want=n;
    while(opened<want){ cs[opened].lastseq=-1; begin(&cs[opened],ep,opened,addr,port); opened++; }
    if(waiting&&t-scanned>20000000LL&&(scanned=t)) for(int i=0;i<opened;i++) if(cs[i].state==4&&cs[i].due<=t){ waiting--; begin(&cs[i],ep,i,addr,port); }
    int k=epoll_wait(ep,evs,512,opened<n?1:100);
    for(int i=0;i<k;i++){ int id=evs[i].data.u32; conn*c=&cs[id];
      if(c->state==0){ int e=0; socklen_t sl=sizeof e; getsockopt(c->fd,SOL_SOCKET,SO_ERROR,&e,&sl); if(e){ END; continue; }
        char path[2048],req[9216],tok[4096]=""; snprintf(path,1000,u,id+first); if(c->cursor[0]){ size_t m=strlen(path); snprintf(path+m,sizeof path-m,"%ccursor=%s",strchr(path,'?')?'&':'?',c->cursor); } if(tf){ if(fgets(tok,4096,tf)) tok[strcspn(tok,"\n")]=0; }
        int m=snprintf(req,9216,"GET %s HTTP/1.1\r\nHost: %s:%d\r\n%s%s%s%s%s\r\n",path,addr,port,request_headers[transport],hdr,tok[0]?"Authorization: Bearer ":"",tok,tok[0]?"\r\n":"");
        if(write(c->fd,req,m)!=m){ END; continue; } c->state=1; if(stall){ epoll_ctl(ep,EPOLL_CTL_DEL,c->fd,0); continue; } ev.events=EPOLLIN; ev.data.u32=id; epoll_ctl(ep,EPOLL_CTL_MOD,c->fd,&ev); continue; }
      ssize_t r=read(c->fd,buf,1<<18); if(r<=0){ if(r<0&&errno==EAGAIN) continue; if(c->state==2) alive--;
        if(transport==POLL&&r==0&&c->state==2&&polled(c)){ close(c->fd); begin(c,ep,id,addr,port); continue; } END; continue; }
      bytes+=r; for(ssize_t j=0;j<r;j++){ char ch=buf[j];
        if(c->state==2&&transport>=WEBSOCKET){ if(transport==POLL) gather(c,buf+j,r-j); else frames(c,(unsigned char*)buf+j,r-j); break; }
        if(ch=='\n'){ if(c->state==1){ int L=c->linelen; if(L&&c->line[L-1]=='\r')L--; c->line[L]=0; if(!strncmp(c->line,"HTTP/1.1 ",9)&&strncmp(c->line+9,transport==WEBSOCKET?"101":"200",3)){ bad++; if(bad<4) fprintf(stderr,"%s\n",c->line);} if(L==0){ c->state=2; alive++; if(alive==n) tconn=now_ns()-t0; } }
          else { long had=c->events,had_numbered=c->numbered; line(c); if(((enough&&had<enough&&c->events>=enough)||(enough_numbered&&had_numbered<enough_numbered&&c->numbered>=enough_numbered))&&++satisfied==n){ alls=(now_ns()-t0)/1e9; stop=1; } } c->linelen=0; }
        else if(c->linelen<LINE-1) c->line[c->linelen++]=ch; } }
    t=now_ns(); if(t-lastp>1000000000LL){ if(!quiet) fprintf(stderr,"t=%.0f opened=%d alive=%d dead=%d ev/s=%lld\n",(t-t0)/1e9,opened,alive,dead,(total-lasttot)*1000000000LL/(t-lastp)); lasttot=total; lastp=t; } }
  long nh=0; for(int i=0;i<4000;i++) nh+=hist[i]; long mn=1<<30,mx=0,mnn=1<<30,mxn=0,gaps=0,dups=0; for(int i=0;i<n;i++){ if(cs[i].events<mn)mn=cs[i].events; if(cs[i].events>mx)mx=cs[i].events; if(cs[i].numbered<mnn)mnn=cs[i].numbered; if(cs[i].numbered>mxn)mxn=cs[i].numbered; gaps+=cs[i].gaps; dups+=cs[i].dups; }
  printf("{\"conns\":%d,\"alive\":%d,\"dead\":%d,\"again\":%ld,\"non200\":%ld,\"connect_s\":%.2f,\"all_s\":%.2f,\"events\":%lld,\"bytes\":%lld,\"comments\":%lld,\"min_ev\":%ld,\"max_ev\":%ld,\"min_numbered\":%ld,\"max_numbered\":%ld,\"gaps\":%ld,\"dups\":%ld,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"p999_ms\":%.2f,\"max_ms\":%.1f,\"stamps\":%lld,\"first_p50_ms\":%.2f}\n",n,alive,dead,again,bad,tconn/1e9,alls,total,bytes,comments,mn,mx,mnn,mxn,gaps,dups,pct(.5,nh),pct(.99,nh),pct(.999,nh),maxdelay/1e6,stamps,pct_of(firsts,.5));
  fflush(stdout); while(keep&&satisfied==n&&!killed) usleep(1000);
}
